//! The recipe: a page, a pair or a document of another corpus in, a document with its images out, and the reason for all that is dropped.
//!
//! Stages run in the order of what they cost: words are at hand, pictures take a request and a
//! decoder. Async code waits for the network; work on the processor runs on blocking threads, as
//! many at a time as there are workers.

use std::path::PathBuf;
use std::sync::Arc;

use m3w_crawler::warc::{self, WarcItem};
use m3w_crawler::{Crawler, Page};
use m3w_document::filter::pii;
use m3w_document::filter::word_list::WordLists;
use m3w_document::{
    ConsentSignal, Document, Element, Image, ImageRef, Reason, Text, Verdict, WarcLocation, filter,
};
use m3w_dom_align::{Aligned, align};
use tokio::sync::Semaphore;
use url::Url;

use crate::archive::Archive;
use crate::block_list::{BLOCKED, BlockList};
use crate::classifier::Classifier;
use crate::config::BuildConfig;
use crate::forgotten::Forgotten;
use crate::index::{Archived, WarcFile};
use crate::interleaved::Wanted;
use crate::journal::{ImageDrop, Measured, Outcome, TextDrop};
use crate::pairs::{Kind, Pair, PairsConfig};
use crate::pictures::Pictures;
use crate::source::{Entry, Item};
use crate::video::{Origin, Span, clip};

const SECONDS_PER_DAY: i64 = 86_400;

/// What turns inputs into outcomes. Cheap to clone; one serves a whole run.
#[derive(Clone)]
pub struct Pipeline {
    config: Arc<BuildConfig>,
    crawler: Crawler,
    pictures: Pictures,
    workers: Arc<Semaphore>,
    forgotten: Arc<Forgotten>,
    blocked: Arc<BlockList>,
    words: Arc<WordLists>,
}

impl Pipeline {
    /// A pipeline that uses `threads` processor threads at a time, and takes images from `archive`
    /// where it has them, everything else by `crawler`.
    #[must_use]
    pub fn new(
        config: Arc<BuildConfig>,
        crawler: Crawler,
        archive: Archive,
        threads: usize,
    ) -> Self {
        let workers = Arc::new(Semaphore::new(threads));
        let pictures = Pictures::new(&config, crawler.clone(), archive, Arc::clone(&workers));
        Self {
            config,
            crawler,
            pictures,
            workers,
            forgotten: Arc::default(),
            blocked: Arc::default(),
            words: Arc::default(),
        }
    }

    /// The same, but what is to be forgotten is not asked for, and not kept.
    #[must_use]
    pub fn without(self, forgotten: Forgotten) -> Self {
        Self {
            forgotten: Arc::new(forgotten),
            ..self
        }
    }

    /// The same, but what is shut out is not asked for, and not kept.
    #[must_use]
    pub fn blocking(self, blocked: BlockList) -> Self {
        Self {
            blocked: Arc::new(blocked),
            ..self
        }
    }

    /// The same, but words that are listed are counted.
    #[must_use]
    pub fn counting(self, words: WordLists) -> Self {
        Self {
            words: Arc::new(words),
            ..self
        }
    }

    /// The same, but pictures are shown to a classifier.
    #[must_use]
    pub fn classifying(self, classifier: Option<Arc<Classifier>>) -> Self {
        Self {
            pictures: self.pictures.classifying(classifier),
            ..self
        }
    }

    /// What the crawler has done so far.
    #[must_use]
    pub fn crawler(&self) -> &Crawler {
        &self.crawler
    }

    /// The stage that fetches pictures.
    #[must_use]
    pub fn pictures(&self) -> &Pictures {
        &self.pictures
    }

    /// Works on one input to its end.
    pub async fn run(&self, entry: Entry) -> Outcome {
        if self.forgotten.named.has_text(&entry.text) {
            return Forgotten::tombstone(entry.number, &entry.text);
        }
        let mut outcome = Outcome::of(entry.number, entry.text);
        if self.blocked.named().has_text(&outcome.text) {
            outcome.dropped = Some(BLOCKED);
            return outcome;
        }
        let document = match entry.item {
            Item::Pair(pair) => self.pair(*pair).await,
            item => {
                let mut left_out = LeftOut::default();
                let document = self.document(item, &mut left_out).await;
                outcome.images_dropped = left_out.images;
                outcome.texts_dropped = left_out.texts;
                outcome.measured = left_out.measured;
                document
            }
        };
        match document {
            Ok(document) => {
                // The document carries its scores itself.
                outcome.measured = Measured::default();
                outcome.document = Some(document);
            }
            Err(reason) => outcome.dropped = Some(reason),
        }
        let (unit, least) = (self.config.unit(), self.config.filter.min_images);
        self.forgotten.apply(&mut outcome, unit, least);
        outcome
    }

    async fn document(
        &self,
        item: Item,
        left_out: &mut LeftOut,
    ) -> Result<Document<Image>, Reason> {
        let document = match item {
            Item::Document(read) => {
                left_out.images.extend(read.dropped);
                self.measured(read.document, &mut left_out.texts).await?
            }
            item => {
                let page = self.page(item).await?;
                let document = self.align(page, left_out).await?;
                document.filter_map_images(|reference| Some(Wanted::from(reference)))
            }
        };
        if self.blocked.named().has_page(&document) {
            return Err(BLOCKED);
        }
        left_out.measured = Measured::of(&document);
        let text = &self.config.filter.text;
        kept(filter::text::verdict(
            &document.scores,
            document.language.as_deref(),
            text,
        ))?;
        let document = self.without_closed(document, &mut left_out.images);
        let document = self.with_images(document, &mut left_out.images).await;
        enough_images(&document, self.config.filter.min_images)?;
        Ok(document)
    }

    /// Whether a picture stays.
    fn judged(&self, image: &Image) -> Result<(), Reason> {
        if self.blocked.has_picture(image) {
            return Err(BLOCKED);
        }
        kept(filter::image::verdict(image, &self.config.filter.image))
    }

    /// The document without the pictures that must not be asked for.
    fn without_closed(
        &self,
        document: Document<Wanted>,
        dropped: &mut Vec<ImageDrop>,
    ) -> Document<Wanted> {
        document.filter_map_images(|wanted| {
            let reference = &wanted.reference;
            let drop = if self.forgotten.named.has_reference(reference) {
                Forgotten::hidden_drop(reference.url.as_str())
            } else if self.blocked.named().has_reference(reference) {
                ImageDrop {
                    url: shown_url(&reference.url),
                    reason: BLOCKED,
                }
            } else {
                return Some(wanted);
            };
            dropped.push(drop);
            None
        })
    }

    /// A document that came as one, with what its words say.
    async fn measured(
        &self,
        mut document: Document<Wanted>,
        texts: &mut Vec<TextDrop>,
    ) -> Result<Document<Wanted>, Reason> {
        let (config, words) = (Arc::clone(&self.config), Arc::clone(&self.words));
        let work = move || {
            let counts = scrub(&mut document, config.filter.pii, |wanted| {
                &mut wanted.reference
            });
            let gone = measure(&mut document, &config, &words);
            document.scores.extend(counts);
            (document, gone)
        };
        let done = on_worker(&self.workers, work).await;
        let (document, gone) = done.ok_or(Reason::new("filter/failed"))?;
        texts.extend(gone);
        Ok(document)
    }

    /// A pair as a document of its picture, or of a clip of its video, and its caption; the caption
    /// has been judged already.
    async fn pair(&self, pair: Pair) -> Result<Document<Image>, Reason> {
        let is_video = |pairs: &&PairsConfig| pairs.kind == Kind::Vtp;
        let pictures = match self.config.pairs.as_ref().filter(is_video) {
            Some(pairs) => {
                let span = pair.span.unwrap_or(Span::Drawn(self.config.seed));
                let (video, images) = (pairs.video.clone(), self.config.images.clone());
                let pictures = self.pictures.clone();
                let work = move |bytes: &[u8], origin: Origin| {
                    let mut frames = clip(bytes, &origin, span, &video, &images)?;
                    frames
                        .iter_mut()
                        .try_for_each(|frame| pictures.classify(frame))?;
                    Ok(frames)
                };
                self.pictures
                    .with_bytes(&pair.media, pair.checksums, work)
                    .await?
            }
            None => {
                let picture = self.pictures.fetch_pair(&pair.media, pair.checksums);
                vec![picture.await?]
            }
        };
        for picture in &pictures {
            self.judged(picture)?;
        }
        let (mut caption, mut counts) = (pair.caption, pii::Counts::default());
        let config = self.config.filter.pii;
        pii::scrub(&mut caption, config, &mut counts);
        let mut document = Pair::document(pair.media.into_url(), pictures, caption);
        document.scores.extend(scores(config, counts));
        Ok(document)
    }

    /// An input as a page.
    async fn page(&self, item: Item) -> Result<Page, Reason> {
        match item {
            Item::Url(url) => self.crawler.fetch_page(&url).await.map_err(fetch_reason),
            Item::Page(page) => Ok(*page),
            Item::Archived(archived) => self.archived_page(&archived).await,
            Item::Pair(_) | Item::Document(_) => Err(Reason::new("fetch/not-html")),
            Item::Refused(reason) => Err(reason),
        }
    }

    /// The page of one record of an archive.
    async fn archived_page(&self, archived: &Archived) -> Result<Page, Reason> {
        let Archived {
            file,
            offset,
            length,
        } = archived;
        let config = Arc::clone(&self.config);
        let item = match file {
            WarcFile::Remote(url) => {
                let bytes = self.crawler.fetch_range(url, *offset, *length).await;
                let bytes = bytes.map_err(fetch_reason)?;
                let name = PathBuf::from(url.path());
                let read = move || warc::item_in(bytes, &name, &config.crawler);
                on_worker(&self.workers, read).await
            }
            WarcFile::Local(path) => {
                let (path, offset) = (path.clone(), *offset);
                let read = move || warc::item_at(&path, offset, &config.crawler);
                on_worker(&self.workers, read).await
            }
        };
        let mut page = match item {
            Some(Ok(Some(WarcItem::Page(page)))) => page,
            Some(Ok(Some(WarcItem::Skipped(failure)))) => return Err(fetch_reason(failure)),
            Some(Ok(Some(WarcItem::Resource(_)))) => return Err(Reason::new("fetch/not-html")),
            Some(Ok(None)) => return Err(Reason::new("fetch/no-response")),
            // An index may name more files than somebody keeps.
            Some(Err(m3w_crawler::Error::Read { .. })) => {
                return Err(Reason::new("fetch/not-archived"));
            }
            Some(Err(_)) | None => return Err(Reason::new("fetch/damaged-record")),
        };
        if let Some(location) = &mut page.warc {
            (location.offset, location.length) = (*offset, *length);
        }
        Ok(page)
    }

    /// The page as text and image references in order.
    async fn align(
        &self,
        page: Page,
        left_out: &mut LeftOut,
    ) -> Result<Document<ImageRef>, Reason> {
        if page.is_truncated {
            return Err(Reason::new("fetch/truncated"));
        }
        let (config, words) = (Arc::clone(&self.config), Arc::clone(&self.words));
        let (page, aligned, texts) = on_worker(&self.workers, move || {
            let mut texts = Vec::new();
            let mut aligned = align(&page.html, &page.final_url, &config.align);
            if aligned.given_up.is_none() {
                let document = &mut aligned.document;
                let counts = scrub(document, config.filter.pii, |reference| reference);
                texts = measure(document, &config, &words);
                document.scores.extend(counts);
            }
            (page, aligned, texts)
        })
        .await
        .ok_or(Reason::new("align/failed"))?;
        let Aligned {
            mut document,
            dropped,
            given_up,
            ..
        } = aligned;
        if let Some(reason) = given_up {
            return Err(reason);
        }
        left_out.texts = texts;
        left_out.images = dropped
            .into_iter()
            .map(|image| ImageDrop {
                url: image.url.unwrap_or_default(),
                reason: image.reason,
            })
            .collect();
        if !page.images_allowed {
            return Err(Reason::new("consent/images-reserved"));
        }
        document.url = page.url;
        document.fetched_at = Some(day_of(page.fetched_at));
        document.consent = consent_signals(page.consent, page.fetched_at);
        document.warc = page.warc.map(|location| WarcLocation {
            file: location.file,
            offset: location.offset,
            length: location.length,
        });
        Ok(document)
    }

    /// The document with its images fetched, decoded and judged; those that fail are left out.
    ///
    /// As many are asked for at a time as may still be kept: a page of a thousand pictures does not
    /// cost its host a thousand requests when thirty stay.
    async fn with_images(
        &self,
        document: Document<Wanted>,
        dropped: &mut Vec<ImageDrop>,
    ) -> Document<Image> {
        let references: Vec<Wanted> = document.images().cloned().collect();
        let most = self.config.filter.max_images;
        let mut verdicts = Vec::with_capacity(references.len());
        let mut kept_images = 0;
        let tried = references.len().min(self.config.filter.max_images_fetched);
        let mut rest = &references[..tried];
        while kept_images < most && !rest.is_empty() {
            let (next, behind) = rest.split_at(rest.len().min(most - kept_images));
            rest = behind;
            for picture in self.pictures.fetch_all(next.to_vec()).await {
                let verdict = picture.and_then(|image| {
                    self.judged(&image)?;
                    Ok(image)
                });
                kept_images += usize::from(verdict.is_ok());
                verdicts.push(verdict);
            }
        }
        let mut verdicts = verdicts.into_iter();
        document.filter_map_images(|wanted| {
            let too_many = Err(Reason::new("filter/too-many-images"));
            match verdicts.next().unwrap_or(too_many) {
                Ok(image) => Some(image),
                Err(reason) => {
                    let url = shown_url(&wanted.reference.url);
                    dropped.push(ImageDrop { url, reason });
                    None
                }
            }
        })
    }
}

/// What a document lost on its way, and what was measured of it.
#[derive(Default)]
struct LeftOut {
    images: Vec<ImageDrop>,
    texts: Vec<TextDrop>,
    measured: Measured,
}

/// Measures a document, and again without the texts that do not stay, which are those returned.
pub(crate) fn measure<I>(
    document: &mut Document<I>,
    config: &BuildConfig,
    words: &WordLists,
) -> Vec<TextDrop> {
    filter::text::measure(document, words);
    let gone = filter::paragraph::apply(document, words, &config.filter.paragraph);
    if !gone.is_empty() {
        filter::text::measure(document, words);
    }
    let dropped = |(text, reason): (Text, Reason)| TextDrop {
        text: text.content,
        reason,
    };
    gone.into_iter().map(dropped).collect()
}

/// Whether a document has the images that it needs to stay.
///
/// # Errors
///
/// How many it has, where they are too few.
pub(crate) fn enough_images(document: &Document<Image>, least: usize) -> Result<(), Reason> {
    let images = document.images().count();
    if images < least {
        #[expect(clippy::cast_precision_loss, reason = "a count to be read by people")]
        let (measured, threshold) = (images as f64, least as f64);
        return Err(Reason::measured(
            "filter/too-few-images",
            measured,
            threshold,
        ));
    }
    Ok(())
}

fn kept(verdict: Verdict) -> Result<(), Reason> {
    verdict.reason().map_or(Ok(()), Err)
}

/// Takes out of all that a document says what the settings name; their counts, as scores. URLs stay
/// as they are, those of pictures above all.
fn scrub<I>(
    document: &mut Document<I>,
    config: pii::Config,
    reference: fn(&mut I) -> &mut ImageRef,
) -> Vec<(String, f64)> {
    let mut counts = pii::Counts::default();
    let mut scrub = |text: &mut String| pii::scrub(text, config, &mut counts);
    document.title.as_mut().map(&mut scrub);
    for element in &mut document.elements {
        match element {
            Element::Text(text) => scrub(&mut text.content),
            Element::Image(image) => {
                let ImageRef {
                    alt,
                    title,
                    caption,
                    ..
                } = reference(image);
                [alt, title, caption]
                    .into_iter()
                    .flatten()
                    .for_each(&mut scrub);
            }
        }
    }
    scores(config, counts)
}

fn scores(config: pii::Config, counts: pii::Counts) -> Vec<(String, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let score = |(name, count): (&str, usize)| (name.to_owned(), count as f64);
    config.counted(counts).into_iter().map(score).collect()
}

/// Runs work of the processor on a blocking thread when a worker is free; `None` if it panicked.
pub(crate) async fn on_worker<T: Send + 'static>(
    workers: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let permit = Arc::clone(workers).acquire_owned().await.ok()?;
    let work = move || {
        let result = work();
        drop(permit);
        result
    };
    tokio::task::spawn_blocking(work).await.ok()
}

pub(crate) fn fetch_reason(failure: m3w_crawler::Failure) -> Reason {
    Reason {
        name: format!("fetch/{}", failure.reason()).into(),
        measured: None,
        threshold: None,
        duplicate_of: None,
    }
}

/// Statements that were seen at that time, of which the day is kept.
pub(crate) fn consent_signals(
    signals: Vec<m3w_crawler::Signal>,
    seen_at: i64,
) -> Vec<ConsentSignal> {
    let stored = |signal: m3w_crawler::Signal| ConsentSignal {
        channel: signal.channel,
        value: signal.value,
        seen_at: Some(day_of(seen_at)),
    };
    signals.into_iter().map(stored).collect()
}

/// The day, not the second: two runs over the same answers shall write the same bytes.
pub(crate) fn day_of(seconds: i64) -> i64 {
    seconds - seconds.rem_euclid(SECONDS_PER_DAY)
}

/// A URL for people to read: of a `data:` URL only the head.
pub(crate) fn shown_url(url: &Url) -> String {
    const HEAD: usize = 64;
    match (url.scheme(), url.as_str().char_indices().nth(HEAD)) {
        ("data", Some((end, _))) => format!("{}...", &url.as_str()[..end]),
        _ => url.as_str().to_owned(),
    }
}
