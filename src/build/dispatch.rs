//! Inputs on their way through the pipeline, as many at a time as there are places.

use m3w_crawler::Frontier;
use tokio::sync::{mpsc, watch};
use url::Url;

use crate::config::BuildConfig;
use crate::index::{Archived, WarcFile};
use crate::journal::Outcome;
use crate::pipeline::Pipeline;
use crate::source::{Entry, Item};

/// Pages of one host that are worked on for each connection that it may have: while one waits for
/// its images, the next can ask.
const PAGES_PER_CONNECTION: usize = 4;

/// How many pages may be worked on or wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    in_flight: usize,
    per_host: usize,
    waiting: usize,
}

impl Places {
    pub(crate) fn of(config: &BuildConfig) -> Self {
        Self {
            in_flight: config.pages_in_flight,
            per_host: config.crawler.connections_per_host * PAGES_PER_CONNECTION,
            waiting: config.pages_waiting,
        }
    }
}

/// Runs the pipeline over the inputs until they end, `stop` is set, or nobody takes the outcomes
/// any more. URLs wait by host, so that a slow one holds up none of the others.
pub(crate) async fn dispatch(
    pipeline: Pipeline,
    mut entries: mpsc::Receiver<Entry>,
    outcomes: mpsc::Sender<Outcome>,
    places: Places,
    stop: watch::Receiver<bool>,
) {
    let mut frontier = Frontier::new(places.per_host);
    let mut tasks = tokio::task::JoinSet::new();
    // A page at hand, which has no host to wait for.
    let mut at_hand: Option<Entry> = None;
    let mut is_open = true;
    let run = |host: Option<String>, entry: Entry| {
        let (pipeline, outcomes) = (pipeline.clone(), outcomes.clone());
        async move {
            let outcome = pipeline.run(entry).await;
            // Nobody takes it when the disk refused one, which is reported there.
            let _ = outcomes.send(outcome).await;
            host
        }
    };
    let work = async {
        loop {
            while tasks.len() < places.in_flight {
                if let Some(entry) = at_hand.take() {
                    tasks.spawn(run(None, entry));
                } else if let Some((host, entry)) = frontier.take() {
                    tasks.spawn(run(Some(host), entry));
                } else {
                    break;
                }
            }
            let has_room = is_open && at_hand.is_none() && frontier.waiting() < places.waiting;
            tokio::select! {
                entry = entries.recv(), if has_room => match entry {
                    Some(entry) => match host(&entry.item) {
                        Some(host) => frontier.push(&host, entry),
                        None => at_hand = Some(entry),
                    },
                    None => is_open = false,
                },
                Some(finished) = tasks.join_next() => {
                    // A task that panicked has no outcome, which is reported at the end.
                    if let Ok(Some(host)) = finished {
                        frontier.finished(&host);
                    }
                },
                else => break,
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = is_set(stop) => {}
        () = outcomes.closed() => {}
    }
}

/// The host that an input has to be fetched from.
fn host(item: &Item) -> Option<String> {
    match item {
        Item::Url(url) => url.host_str().map(str::to_owned),
        Item::Archived(Archived {
            file: WarcFile::Remote(url),
            ..
        }) => url.host_str().map(str::to_owned),
        Item::Pair(pair) => pair.url().and_then(Url::host_str).map(str::to_owned),
        Item::Archived(_) | Item::Page(_) | Item::Document(_) | Item::Refused(_) => None,
    }
}

/// Waits until `stop` is set; for ever, if nobody is left to set it.
async fn is_set(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|is_set| *is_set).await.is_err() {
        std::future::pending::<()>().await;
    }
}
