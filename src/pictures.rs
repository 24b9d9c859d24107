//! The image stage: references to pictures, each URL fetched and decoded once.

use std::sync::Arc;

use data_url::DataUrl;
use futures_util::future::join_all;
use m3w_crawler::consent::{Policy, decide_by};
use m3w_crawler::{Crawler, PRODUCT_TOKEN, Signal};
use m3w_document::image::{C2PA, IPTC, prepare};
use m3w_document::{ConsentSignal, Image, ImageRef, Reason, Sha256};
use moka::future::Cache;
use tokio::sync::Semaphore;
use url::Url;

use crate::archive::Archive;
use crate::classifier::Classifier;
use crate::config::BuildConfig;
use crate::interleaved::Wanted;
use crate::pairs::{Checksums, Media};
use crate::pipeline::{consent_signals, day_of, fetch_reason, on_worker};
use crate::video::Origin;

/// Other URLs of one picture that are tried when the chosen one fails.
const MAX_ALTERNATIVES: usize = 2;
/// What an entry of the cache weighs besides its bytes.
const ENTRY_BYTES: u32 = 512;

/// Fetches, decodes and scales pictures. Cheap to clone.
///
/// A picture that stands on many pages is fetched once while it stays in the cache, which holds at
/// most `image_cache_bytes`; at most `images_in_flight` pictures are held as fetched bytes.
#[derive(Clone)]
pub struct Pictures {
    config: Arc<BuildConfig>,
    crawler: Crawler,
    archive: Archive,
    cache: Cache<String, Result<Image, Reason>>,
    in_flight: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    classifier: Option<Arc<Classifier>>,
}

impl Pictures {
    /// A stage that takes pictures from `archive` where it has them, and fetches the others.
    #[must_use]
    pub fn new(
        config: &Arc<BuildConfig>,
        crawler: Crawler,
        archive: Archive,
        workers: Arc<Semaphore>,
    ) -> Self {
        let cache = Cache::builder()
            .max_capacity(config.image_cache_bytes)
            .weigher(|url: &String, image: &Result<Image, Reason>| {
                let bytes = url.len() + image.as_ref().map_or(0, |image| image.bytes.len());
                u32::try_from(bytes)
                    .unwrap_or(u32::MAX)
                    .saturating_add(ENTRY_BYTES)
            })
            .build();
        Self {
            config: Arc::clone(config),
            crawler,
            archive,
            cache,
            in_flight: Arc::new(Semaphore::new(config.images_in_flight)),
            workers,
            classifier: None,
        }
    }

    /// The same, but pictures are shown to a classifier before they are judged.
    #[must_use]
    pub fn classifying(self, classifier: Option<Arc<Classifier>>) -> Self {
        Self { classifier, ..self }
    }

    /// Shows a picture to the classifier, if there is one.
    ///
    /// # Errors
    ///
    /// Why it has no answer.
    pub fn classify(&self, image: &mut Image) -> Result<(), Reason> {
        let classifier = self.classifier.as_ref();
        classifier.map_or(Ok(()), |classifier| classifier.score(image))
    }

    /// The pictures of a document, or why there is none, in the order in which they are wanted.
    pub async fn fetch_all(&self, wanted: Vec<Wanted>) -> Vec<Result<Image, Reason>> {
        join_all(wanted.into_iter().map(|wanted| self.fetch_wanted(wanted))).await
    }

    async fn fetch_wanted(&self, wanted: Wanted) -> Result<Image, Reason> {
        let Wanted {
            reference,
            media,
            checksums,
        } = wanted;
        if matches!(media, Media::Url(_)) && checksums.is_empty() {
            return self.fetch(reference).await;
        }
        let picture = self.fetch_pair(&media, checksums).await;
        picture.map(|image| with_reference(image, reference))
    }

    /// The picture of the first URL of the reference that has one; the reason is that of the URL
    /// which the page would show.
    async fn fetch(&self, reference: ImageRef) -> Result<Image, Reason> {
        let mut picture = self.cached(&reference.url).await;
        for url in reference.alternatives.iter().take(MAX_ALTERNATIVES) {
            if picture.is_ok() {
                break;
            }
            picture = self.cached(url).await.or(picture);
        }
        picture.map(|image| with_reference(image, reference))
    }

    /// The picture that stands there, if its bytes are those that are promised.
    ///
    /// # Errors
    ///
    /// Why there is none: the fetch, the digests, the decoder.
    pub async fn fetch_pair(&self, media: &Media, checksums: Checksums) -> Result<Image, Reason> {
        match media {
            Media::Url(url) if checksums.is_empty() => self.cached(url).await,
            // What other rows promise of the same URL must not be answered from the cache.
            media => self.prepared(media, checksums).await,
        }
    }

    /// The picture that a reference had when its bytes had this hash, from the first of its URLs
    /// that still gives them.
    ///
    /// # Errors
    ///
    /// Why the URL that the page shows does not give them: `input/wrong-hash` if it gives others.
    pub async fn fetch_again(
        &self,
        reference: &ImageRef,
        sha256_fetched: Sha256,
    ) -> Result<Image, Reason> {
        let checksums = Checksums {
            sha256: Some(sha256_fetched),
            md5: None,
        };
        let again = |url: &Url| {
            let media = Media::Url(url.clone());
            let checksums = checksums.clone();
            async move { self.prepared(&media, checksums).await }
        };
        let mut picture = again(&reference.url).await;
        for url in reference.alternatives.iter().take(MAX_ALTERNATIVES) {
            if picture.is_ok() {
                break;
            }
            picture = again(url).await.or(picture);
        }
        picture
    }

    async fn prepared(&self, media: &Media, checksums: Checksums) -> Result<Image, Reason> {
        let (config, classifier) = (Arc::clone(&self.config), self.classifier.clone());
        self.with_bytes(media, checksums, move |bytes, origin| {
            let reference = ImageRef::new(origin.url);
            let mut image = prepare(reference, bytes, origin.consent, &config.images)?;
            for signal in &mut image.consent {
                // What its own bytes say was seen when they came.
                signal.seen_at = signal.seen_at.or(origin.fetched_at);
            }
            check_reserved(&image, config.crawler.consent_policy)?;
            if let Some(classifier) = &classifier {
                classifier.score(&mut image)?;
            }
            Ok(image)
        })
        .await
    }

    /// What `work` makes of the bytes of a picture or video, if they are those that are promised.
    /// It runs on a worker; the bytes count as in flight until it is done.
    ///
    /// # Errors
    ///
    /// Why there are no such bytes, or what `work` says.
    pub async fn with_bytes<T: Send + 'static>(
        &self,
        media: &Media,
        checksums: Checksums,
        work: impl FnOnce(&[u8], Origin) -> Result<T, Reason> + Send + 'static,
    ) -> Result<T, Reason> {
        let _held = self.in_flight.acquire().await;
        let (url, bytes, consent, fetched_at) = match media {
            Media::Url(url) => {
                let (bytes, consent, fetched_at) = self.bytes(url).await?;
                (url.clone(), bytes, consent, fetched_at.map(day_of))
            }
            Media::Stored(stored) => {
                if stored.length > self.config.crawler.max_image_bytes as u64 {
                    return Err(Reason::new("input/too-large"));
                }
                let url = stored.url.clone();
                let stored = stored.clone();
                let read = on_worker(&self.workers, move || stored.read()).await;
                let bytes = read.unwrap_or(Err(Reason::new("input/unreadable")))?;
                (url, bytes.into(), Vec::new(), None)
            }
            Media::Held(held) => {
                if held.bytes.len() > self.config.crawler.max_image_bytes {
                    return Err(Reason::new("input/too-large"));
                }
                (held.url.clone(), held.bytes.clone(), Vec::new(), None)
            }
        };
        on_worker(&self.workers, move || {
            checksums.check(&bytes)?;
            let origin = Origin {
                url,
                consent,
                fetched_at,
            };
            work(&bytes, origin)
        })
        .await
        .unwrap_or(Err(Reason::new("decode/failed")))
    }

    async fn cached(&self, url: &Url) -> Result<Image, Reason> {
        if url.scheme() == "data" {
            return self.fetch_and_prepare(url).await;
        }
        self.cache
            .get_with_by_ref(url.as_str(), self.fetch_and_prepare(url))
            .await
    }

    async fn fetch_and_prepare(&self, url: &Url) -> Result<Image, Reason> {
        self.prepared(&Media::Url(url.clone()), Checksums::default())
            .await
    }

    /// The bytes, what came with them, and when they came.
    async fn bytes(
        &self,
        url: &Url,
    ) -> Result<(bytes::Bytes, Vec<ConsentSignal>, Option<i64>), Reason> {
        if url.scheme() == "data" {
            let (body, _) = DataUrl::process(url.as_str())
                .ok()
                .and_then(|data| data.decode_to_vec().ok())
                .ok_or(Reason::new("fetch/bad-data-url"))?;
            return Ok((body.into(), Vec::new(), None));
        }
        if let Some(resource) = self.archive.image(url).await {
            let consent = consent_signals(resource.consent, resource.fetched_at);
            return Ok((resource.bytes, consent, Some(resource.fetched_at)));
        }
        if self.archive.is_closed() {
            return Err(Reason::new("fetch/not-archived"));
        }
        let body = self.crawler.fetch_image(url).await.map_err(fetch_reason)?;
        let consent = consent_signals(body.consent, body.fetched_at);
        Ok((body.bytes, consent, Some(body.fetched_at)))
    }
}

/// Refuses a picture whose own metadata reserve it; its answer's header was asked before it came.
fn check_reserved(image: &Image, policy: Policy) -> Result<(), Reason> {
    let of_its_own = image
        .consent
        .iter()
        .filter(|signal| [IPTC, C2PA].contains(&signal.channel.as_str()))
        .map(|signal| Signal {
            channel: signal.channel.clone(),
            value: signal.value.clone(),
        });
    let signals: Vec<Signal> = of_its_own.collect();
    if decide_by(policy, &signals, PRODUCT_TOKEN).images_allowed {
        Ok(())
    } else {
        Err(Reason::new("consent/data-mining"))
    }
}

/// The picture with what the page says of it.
fn with_reference(image: Image, mut reference: ImageRef) -> Image {
    // What only its bytes tell; what the page says of it goes before.
    if reference.media == m3w_document::Media::Image {
        reference.media = image.reference.media.clone();
    }
    Image { reference, ..image }
}
