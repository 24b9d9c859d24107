//! What has to be had from outside: pictures, and inputs that are worked on again.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use futures_util::future::join_all;
use m3w_crawler::{Archives, Crawler};
use m3w_document::{Document, Image, Reason};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::part::Part;
use super::{LostReason, Repair};
use crate::archive::Archive;
use crate::block_list::{self, BlockList};
use crate::build::{Places, Stopped, dispatch};
use crate::classifier::Classifier;
use crate::config::BuildConfig;
use crate::forgotten::Forgotten;
use crate::journal::Outcome;
use crate::pairs::Refusals;
use crate::pipeline::Pipeline;
use crate::progress::Progress;
use crate::source::{Entry, Item, Source, url_item};
use crate::word_lists;

/// Inputs and outcomes on their way.
const WAITING: usize = 64;

impl Repair<'_> {
    /// Fetches the pictures of rows of which the rest is there.
    pub(super) fn fetch_pictures(&mut self, part: &mut Part<'_>) -> Result<()> {
        for (input, document) in part.take_bare() {
            if *self.stop.borrow() {
                return Err(Stopped.into());
            }
            let is_on_the_web = document
                .images()
                .filter(|image| image.bytes.is_empty())
                .all(|image| matches!(image.reference.url.scheme(), "http" | "https" | "data"));
            if !is_on_the_web {
                // Out of an archive or a folder, which have to be read again.
                continue;
            }
            match self.with_pictures(document)? {
                Ok(document) => part.put(input, document)?,
                Err(reason) => part.lose(input, reason),
            }
        }
        Ok(())
    }

    fn with_pictures(
        &mut self,
        document: Document<Image>,
    ) -> Result<Result<Document<Image>, LostReason>> {
        let (runtime, pipeline) = self.web()?;
        let missing: Vec<&Image> = document
            .images()
            .filter(|image| image.bytes.is_empty())
            .collect();
        let pictures = missing.iter().map(|image| {
            pipeline
                .pictures()
                .fetch_again(&image.reference, image.sha256_fetched)
        });
        let pictures = runtime.block_on(join_all(pictures));
        let mut found = Vec::new();
        for (image, picture) in missing.into_iter().zip(pictures) {
            let picture = picture.and_then(|picture| {
                if picture.sha256_stored == image.sha256_stored {
                    Ok(picture.bytes)
                } else {
                    // Decoded or encoded otherwise than by the version that wrote it.
                    Err(Reason::new("repair/changed"))
                }
            });
            match picture {
                Ok(bytes) => found.push(bytes),
                Err(reason) => {
                    let detail = format!("its picture {}", image.reference.url);
                    return Ok(Err(LostReason { reason, detail }));
                }
            }
        }
        let mut found = found.into_iter();
        Ok(Ok(document.filter_map_images(|image| {
            let is_missing = image.bytes.is_empty();
            let bytes = is_missing.then(|| found.next()).flatten();
            let bytes = bytes.unwrap_or_else(|| image.bytes.clone());
            Some(Image { bytes, ..image })
        })))
    }

    /// What fetches, started when it is first needed.
    fn web(&mut self) -> Result<(&Runtime, &Pipeline)> {
        if self.web.is_none() {
            let options = self.options;
            let source = options.source.as_ref();
            let archive = source.map(|source| {
                let crawler = &self.config.crawler;
                Archive::index(source, crawler, options.fetch_missing_images)
            });
            let archive = archive.transpose()?.unwrap_or_default();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(options.threads)
                .enable_all()
                .build()
                .context("cannot start the runtime")?;
            let pipeline = {
                let _inside = runtime.enter();
                let archives = Archives {
                    replay: options.replay.clone(),
                    ..Archives::default()
                };
                let crawler = Crawler::with_archives(self.config.crawler.clone(), &archives)
                    .context("cannot start the crawler")?;
                let filter = &self.config.filter;
                let digest = block_list::digest(&filter.files())?.map(|hash| hash.to_string());
                ensure!(
                    digest == self.run.lists_sha256,
                    "the lists and models that `filter` names are not those that the corpus was built with: \
                     restore them"
                );
                let blocked = BlockList::open(&filter.block)?;
                let forgotten = Forgotten::load(self.corpus.root())?;
                Pipeline::new(Arc::clone(&self.config), crawler, archive, options.threads)
                    .without(forgotten)
                    .blocking(blocked)
                    .counting(word_lists::open(&filter.text)?)
                    .classifying(Classifier::open(&filter.image)?)
            };
            self.web = Some((runtime, pipeline));
        }
        let (runtime, pipeline) = self.web.as_ref().context("it was started above")?;
        Ok((runtime, pipeline))
    }

    /// Works on the inputs again whose rows or lines are gone.
    pub(super) fn work_again(&mut self, parts: &mut [Part<'_>]) -> Result<()> {
        let mut wanted: BTreeMap<u64, (usize, Option<String>)> = BTreeMap::new();
        for (index, part) in parts.iter().enumerate() {
            let missing = part.missing();
            wanted.extend(
                missing
                    .into_iter()
                    .map(|(input, url)| (input, (index, url))),
            );
        }
        if self.options.source.is_none() {
            // Without the inputs: pages by their URLs, and nothing else.
            let is_pairs = self.config.pairs.is_some();
            wanted.retain(|input, (index, url)| {
                let can_be_asked_for = !is_pairs && url.is_some();
                if !can_be_asked_for {
                    let detail = "give the inputs that the corpus was built from".to_owned();
                    let reason = Reason::new("repair/no-input");
                    parts[*index].lose(*input, LostReason { reason, detail });
                }
                can_be_asked_for
            });
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let (source, config) = (self.options.source.clone(), Arc::clone(&self.config));
        let urls: BTreeMap<u64, Option<String>> = wanted
            .iter()
            .map(|(input, (_, url))| (*input, url.clone()))
            .collect();
        let progress = Progress::new(
            config.unit().plural(),
            0,
            wanted.len() as u64,
            self.options.is_quiet,
        );
        let stop = self.stop.clone();
        let (runtime, pipeline) = self.web()?;
        let (entries_in, entries) = mpsc::channel(WAITING);
        let (outcomes_in, mut outcomes) = mpsc::channel::<Outcome>(WAITING);
        let places = Places::of(&config);
        runtime.spawn(dispatch(
            pipeline.clone(),
            entries,
            outcomes_in,
            places,
            stop.clone(),
        ));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| send(source.as_ref(), &config, urls, entries_in));
            let mut accept = || -> Result<()> {
                while let Some(outcome) = outcomes.blocking_recv() {
                    if let Some((index, _)) = wanted.get(&outcome.input) {
                        parts[*index].accept(outcome)?;
                    }
                    progress.step(String::new);
                }
                Ok(())
            };
            let accepted = accept();
            drop(outcomes);
            let sent = reader
                .join()
                .map_err(|_| anyhow!("the reader of the input panicked"))?;
            accepted.and(sent)
        })?;
        progress.finish();
        if *self.stop.borrow() {
            return Err(Stopped.into());
        }
        Ok(())
    }
}

/// Sends the inputs that are wanted, in order: out of the source, or by their URLs.
fn send(
    source: Option<&Source>,
    config: &BuildConfig,
    wanted: BTreeMap<u64, Option<String>>,
    entries: mpsc::Sender<Entry>,
) -> Result<()> {
    let Some(source) = source else {
        for (number, url) in wanted {
            let text = url.unwrap_or_default();
            let item: Item = url_item(&text);
            if entries.blocking_send(Entry { number, text, item }).is_err() {
                break;
            }
        }
        return Ok(());
    };
    // What others hold matters only where it is not known what became of an input.
    let refusals = if wanted.values().any(Option::is_none) {
        source.survey(&config.crawler)?.refusals
    } else {
        Refusals::default()
    };
    for entry in source.entries(&config.crawler, &refusals)? {
        let entry = entry?;
        if wanted.contains_key(&entry.number) && entries.blocking_send(entry).is_err() {
            break;
        }
    }
    Ok(())
}
