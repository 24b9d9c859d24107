//! What an origin allows, asked for once.

use std::sync::Arc;

use url::Url;

use super::Crawler;
use super::request::{Found, Step, Wanted};
use crate::access::{Access, OriginRules, Permission};
use crate::reservations::{self, AI_TXT_PATH, Reservations, TDMREP_PATH};
use crate::{Failure, FailureKind, robots};

impl Crawler {
    /// What the URL's origin says of it, if it allows it.
    pub(super) async fn check_access(&self, url: &Url) -> Result<Permission, Failure> {
        self.access(url).await.check(url)
    }

    pub(super) async fn access(&self, url: &Url) -> Access {
        let origin = url.origin().ascii_serialization();
        self.shared
            .access
            .get(&origin, self.fetch_access(url))
            .await
    }

    /// The files in which an origin says what it allows.
    pub(super) async fn fetch_access(&self, url: &Url) -> Access {
        let rules = if self.shared.config.robots {
            match self.fetch_robots(url).await {
                Ok(rules) => rules,
                Err(failure) => return Access::Unavailable(failure),
            }
        } else {
            OriginRules::default()
        };
        if !self.shared.config.opt_out_files {
            return Access::Rules(Arc::new(rules));
        }
        let tdmrep = self.fetch_statement(url, TDMREP_PATH, &rules).await;
        let ai_txt = self.fetch_statement(url, AI_TXT_PATH, &rules).await;
        let reservations = Reservations::parse(tdmrep.as_deref(), ai_txt.as_deref());
        Access::Rules(Arc::new(rules.with_reservations(reservations)))
    }

    pub(super) async fn fetch_robots(&self, url: &Url) -> Result<OriginRules, Failure> {
        let robots_url = at_path(url, "/robots.txt");
        let mut redirects = 0;
        let fetched = async {
            let mut found = self.follow_robots(robots_url, &mut redirects).await?;
            let received = self.receive(&mut found, robots::MAX_BYTES).await;
            match (received.decoded, received.start) {
                // Of a file beyond the cap the beginning counts.
                (Err(failure), Some(start)) if failure.kind == FailureKind::TooLarge => Ok(start),
                (decoded, _) => decoded,
            }
        };
        OriginRules::from_answer(fetched.await)
    }

    /// A file of statements on reuse, if the origin has it and lets us read it. Redirects are not
    /// followed: where they lead, another origin speaks.
    pub(super) async fn fetch_statement(
        &self,
        url: &Url,
        path: &str,
        rules: &OriginRules,
    ) -> Option<Vec<u8>> {
        let url = at_path(url, path);
        if !rules.is_allowed(&url) {
            return None;
        }
        let permission = Permission {
            crawl_delay: rules.crawl_delay(),
            signals: Vec::new(),
        };
        match self.ask(url, Wanted::Statement, permission).await.ok()? {
            Step::Found(mut found) => {
                let received = self.receive(&mut found, reservations::MAX_BYTES).await;
                received.decoded.ok()
            }
            Step::Redirect(_) => None,
        }
    }

    /// [`Crawler::follow`] behind a box: it asks for `robots.txt`, whose own fetch must not need
    /// the same future again.
    pub(super) fn follow_robots<'a>(
        &'a self,
        url: Url,
        redirects: &'a mut usize,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Found, Failure>> + Send + 'a>> {
        Box::pin(self.follow(url, Wanted::Robots, redirects))
    }
}

/// Another path of the same origin.
pub(super) fn at_path(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    url.set_path(path);
    url.set_query(None);
    url
}
