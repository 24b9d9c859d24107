//! One URL asked for, again where that may help, and on to wherever it leads.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use reqwest::header::{LOCATION, RETRY_AFTER};
use url::Url;

use super::{Crawler, Web};
use crate::access::Permission;
use crate::address::tidy;
use crate::conditions::Conditions;
use crate::fetch::{self, Answer};
use crate::page::{check_image_consent, check_page_consent};
use crate::politeness::Permit;
use crate::wait::retry_after;
use crate::{Failure, FailureKind, Signal};

/// Redirects followed from a `robots.txt`: RFC 9309, 2.3.1.2 asks for at least five.
const MAX_ROBOTS_REDIRECTS: usize = 5;

/// The wait before a first retry, if the server names none; it doubles with each further one.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);

const ACCEPT_PAGE: &str = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1";
const ACCEPT_IMAGE: &str = "image/webp,image/png,image/jpeg,image/*;q=0.8,*/*;q=0.1";
const ACCEPT_SITEMAP: &str = "application/xml,text/xml,text/plain;q=0.5,*/*;q=0.1";
const ACCEPT_FILE: &str = "text/plain,application/json,*/*;q=0.1";

/// What kind of thing is asked for, and under which rules.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    Page,
    Image,
    /// A list of pages: `sitemap.xml`.
    Sitemap,
    /// Not itself subject to `robots.txt`.
    Robots,
    /// A file of statements on reuse; its `robots.txt` has been looked into already.
    Statement,
    /// Some bytes of a file that the user has named.
    Range {
        offset: u64,
        length: u64,
    },
}

impl Wanted {
    pub(super) fn accept(self) -> &'static str {
        match self {
            Self::Page => ACCEPT_PAGE,
            Self::Image => ACCEPT_IMAGE,
            Self::Sitemap => ACCEPT_SITEMAP,
            Self::Robots | Self::Statement => ACCEPT_FILE,
            Self::Range { .. } => "*/*",
        }
    }
}

/// An answer with status 200, and the right to go on reading it.
pub(super) struct Found {
    pub(super) url: Url,
    pub(super) wanted: Wanted,
    pub(super) answer: Answer,
    /// What files of its origin say on reuse.
    pub(super) signals: Vec<Signal>,
    /// The host's connection is ours until the body has come.
    pub(super) _permit: Permit,
}

impl Found {
    /// All statements on reuse that are known before the body is read.
    pub(super) fn signals(&self) -> Vec<Signal> {
        let mut signals = self.signals.clone();
        signals.extend(self.answer.signals());
        signals
    }
}

/// How one request ended.
pub(super) enum Step {
    Found(Box<Found>),
    Redirect(Url),
}

impl Crawler {
    /// Asks for the URL and for wherever it leads, until something is found.
    pub(super) async fn follow(
        &self,
        url: Url,
        wanted: Wanted,
        redirects: &mut usize,
    ) -> Result<Found, Failure> {
        let mut url = url;
        loop {
            self.shared.rules.check(&url)?;
            let permission = match wanted {
                Wanted::Robots | Wanted::Statement | Wanted::Range { .. } => Permission::default(),
                Wanted::Page | Wanted::Image | Wanted::Sitemap => self.check_access(&url).await?,
            };
            let policy = self.shared.config.consent_policy;
            // What is closed by a file needs no request to be refused.
            match wanted {
                Wanted::Page => check_page_consent(policy, &permission.signals).map(|_| ())?,
                Wanted::Image => check_image_consent(policy, &permission.signals)?,
                Wanted::Sitemap | Wanted::Robots | Wanted::Statement | Wanted::Range { .. } => {}
            }
            match self.ask(url, wanted, permission).await? {
                Step::Found(found) => return Ok(*found),
                Step::Redirect(next) => {
                    *redirects += 1;
                    self.check_redirects(*redirects, wanted)?;
                    url = next;
                }
            }
        }
    }

    /// Shortest time between two requests to the host, from our side.
    fn delay(&self, wanted: Wanted) -> Duration {
        match wanted {
            Wanted::Range { .. } => Duration::from_millis(self.shared.config.archive_delay_ms),
            _ => self.shared.config.delay(),
        }
    }

    /// The answer of an earlier crawl that the server may confirm.
    async fn earlier(&self, url: &Url, wanted: Wanted) -> Option<Answer> {
        match wanted {
            Wanted::Page | Wanted::Image | Wanted::Sitemap => {
                self.shared.earlier.as_ref()?.answer(url).await
            }
            Wanted::Robots | Wanted::Statement | Wanted::Range { .. } => None,
        }
    }

    pub(super) fn check_redirects(&self, redirects: usize, wanted: Wanted) -> Result<(), Failure> {
        let limit = match wanted {
            Wanted::Robots => MAX_ROBOTS_REDIRECTS,
            _ => self.shared.config.max_redirects,
        };
        if redirects > limit {
            let detail = format!("more than {limit} redirects");
            return Err(Failure::new(FailureKind::RedirectLimit, detail));
        }
        Ok(())
    }

    /// One URL, asked for again where that may help.
    pub(super) async fn ask(
        &self,
        url: Url,
        wanted: Wanted,
        permission: Permission,
    ) -> Result<Step, Failure> {
        let Permission {
            crawl_delay,
            signals,
        } = permission;
        let host = url.host_str().unwrap_or_default();
        let retries = match (&self.shared.web, wanted) {
            // Nobody waits long for a file that hardly anybody has, and nothing changes in a kept
            // answer.
            (Web::Kept(_), _) | (_, Wanted::Statement) => 0,
            (Web::Live(_), _) => self.shared.config.retries,
        };
        let mut attempt = 0;
        loop {
            let back_off = FIRST_BACK_OFF * 2_u32.saturating_pow(attempt);
            let may_retry = attempt < retries;
            attempt += 1;
            let delay = self.delay(wanted);
            let turn = self.shared.politeness.acquire(host, delay, crawl_delay);
            let permit = match turn.await {
                Ok(permit) => permit,
                Err(failure) => {
                    self.record_failure(&url, &failure).await;
                    return Err(failure);
                }
            };
            let earlier = self.earlier(&url, wanted).await;
            let conditions = match wanted {
                Wanted::Range { offset, length } => Some(Conditions::range(offset, length)),
                _ => earlier.as_ref().map(Conditions::unlike),
            };
            self.shared.requests.fetch_add(1, Ordering::Relaxed);
            let sent = match &self.shared.web {
                Web::Live(connections) => {
                    let client = connections.client(host);
                    let (accept, deadlines) = (wanted.accept(), self.shared.deadlines);
                    let conditions = conditions.unwrap_or_default();
                    fetch::send(&client, &url, accept, conditions, deadlines).await
                }
                Web::Kept(replay) => replay.answer(&url).await,
            };
            permit.answered();
            permit.settled(sent.as_ref().err());
            let answer = match sent {
                Ok(answer) => answer,
                Err(failure) if failure.kind == FailureKind::Connect && may_retry => {
                    drop(permit);
                    tokio::time::sleep(back_off).await;
                    continue;
                }
                Err(failure) => {
                    drop(permit);
                    self.record_failure(&url, &failure).await;
                    return Err(failure);
                }
            };
            let answer = match (answer.status, earlier) {
                (304, Some(earlier)) => {
                    self.shared.unchanged.fetch_add(1, Ordering::Relaxed);
                    self.record_revisit(&url, wanted, &answer, &earlier).await;
                    earlier.confirmed_by(&answer)
                }
                (_, _) => answer,
            };
            let is_found = match wanted {
                Wanted::Range { .. } => matches!(answer.status, 200 | 206),
                _ => matches!(answer.status, 200 | 203),
            };
            if is_found {
                permit.welcomed();
                let found = Found {
                    url,
                    wanted,
                    answer,
                    signals,
                    _permit: permit,
                };
                return Ok(Step::Found(Box::new(found)));
            }
            self.record(&url, wanted, &answer, None, None).await;
            match answer.status {
                304 if matches!(self.shared.web, Web::Kept(_)) => {
                    let detail = format!("{url} was kept by an earlier crawl: name its folder too");
                    return Err(Failure::new(FailureKind::NotArchived, detail));
                }
                301 | 302 | 303 | 307 | 308 => return redirect(&url, &answer).map(Step::Redirect),
                status @ (429 | 503) => {
                    let asked = answer.header(&RETRY_AFTER);
                    let wait = asked.and_then(|value| retry_after(value, SystemTime::now()));
                    // Everybody who wants something of this host waits.
                    if !permit.block(wait.unwrap_or(back_off)) {
                        let wait = wait.unwrap_or(back_off);
                        let detail = format!("the server answered {status}: wait {wait:?}");
                        return Err(Failure::new(FailureKind::RateLimited, detail));
                    }
                    if !may_retry {
                        return Err(status_failure(status));
                    }
                }
                status @ (502 | 504) if !may_retry => return Err(status_failure(status)),
                502 | 504 => {
                    permit.block(back_off);
                }
                status => return Err(status_failure(status)),
            }
        }
    }
}

fn status_failure(status: u16) -> Failure {
    let kind = match status {
        429 => FailureKind::RateLimited,
        status => FailureKind::Http(status),
    };
    Failure::new(kind, format!("the server answered {status}"))
}

/// Where a redirect leads.
fn redirect(url: &Url, answer: &Answer) -> Result<Url, Failure> {
    let status = answer.status;
    let location = answer.header(&LOCATION).ok_or_else(|| {
        let detail = format!("{status} without a readable Location");
        Failure::new(FailureKind::BadHttp, detail)
    })?;
    let target = url.join(location).map_err(|error| {
        let detail = format!("{status} to `{location}`: {error}");
        Failure::new(FailureKind::BadUrl, detail)
    })?;
    tidy(target)
}
