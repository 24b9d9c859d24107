//! The crawler's settings.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::consent::Policy;

/// Name by which `robots.txt`, `X-Robots-Tag` and `<meta>` address us. RFC 9309, 2.2.1 allows
/// letters, `-` and `_` only.
pub const PRODUCT_TOKEN: &str = "mwwbot";

/// Room for the headers of a record beside its body.
pub(crate) const RECORD_ROOM_BYTES: usize = 64 * 1024;

/// Settings of a [`crate::Crawler`]. Unknown fields are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// URL or e-mail address of who runs the crawl; put in the user agent so that a site's owner
    /// can ask.
    pub contact: Option<String>,
    /// Whether loopback, private, link-local and other non-public addresses may be asked.
    pub allow_private_addresses: bool,
    /// Hosts (`name`, `address` or `host:port`) that may be asked although their address is not
    /// public: the narrow form of [`Config::allow_private_addresses`].
    pub allowed_private_hosts: Vec<String>,
    /// Shortest time between the starts of two requests to one host, in ms. A longer
    /// `Crawl-delay` wins.
    pub delay_ms: u64,
    /// The same for the server of an archive that is read by ranges, in ms: one that is there to be
    /// read by programs.
    pub archive_delay_ms: u64,
    /// Longest `Crawl-delay` that is kept to; a longer one counts as this.
    pub max_delay_s: u64,
    /// Connections to one host at a time.
    pub connections_per_host: usize,
    /// Most requests in flight over all hosts; fewer, down to an eighth, while most of them end in
    /// a timeout or find no address. Memory is bounded by this times [`Config::max_image_bytes`].
    pub concurrency: usize,
    /// Time to connect, TLS included.
    pub connect_timeout_s: u64,
    /// Time from the start of a request to the end of the answer's header.
    pub header_timeout_s: u64,
    /// Time from the start of a request to the end of the answer's body.
    pub total_timeout_s: u64,
    /// Slowest body that is waited for, on average after the first five seconds.
    pub min_bytes_per_s: u64,
    /// Largest page, after content decoding.
    pub max_page_bytes: usize,
    /// Largest image, after content decoding.
    pub max_image_bytes: usize,
    /// Redirects followed from one URL, `<meta http-equiv=refresh>` included.
    pub max_redirects: usize,
    /// How often a request is tried again after 429, 502, 503, 504 or a lost connection.
    pub retries: u32,
    /// Longest `Retry-After` that is waited for. A URL that asks for more is given up, and after
    /// three of them in a row so is the host.
    pub max_retry_after_s: u64,
    /// Whether `robots.txt` is asked for and kept to.
    pub robots: bool,
    /// Whether each origin is asked for `/.well-known/tdmrep.json` and `/ai.txt`, two requests
    /// more, and what they reserve is kept to.
    pub opt_out_files: bool,
    /// Which statements on reuse are kept to.
    pub consent_policy: Policy,
    /// How long a `robots.txt` stays valid; RFC 9309, 2.4 allows 24 hours.
    pub robots_ttl_s: u64,
}

impl Default for Config {
    /// Four requests per second and host on two connections, as polite archives do; the caps and
    /// deadlines let 99 % of the web through and bound what the rest can cost.
    fn default() -> Self {
        Self {
            contact: None,
            allow_private_addresses: false,
            allowed_private_hosts: Vec::new(),
            delay_ms: 250,
            archive_delay_ms: 100,
            max_delay_s: 30,
            connections_per_host: 2,
            concurrency: 256,
            connect_timeout_s: 10,
            header_timeout_s: 20,
            total_timeout_s: 60,
            min_bytes_per_s: 512,
            max_page_bytes: 5 << 20,
            max_image_bytes: 20 << 20,
            max_redirects: 5,
            retries: 2,
            max_retry_after_s: 60,
            robots: true,
            opt_out_files: true,
            consent_policy: Policy::Default,
            robots_ttl_s: 24 * 60 * 60,
        }
    }
}

impl Config {
    /// What is sent as `User-Agent`.
    #[must_use]
    pub fn user_agent(&self) -> String {
        let product = format!(
            "{PRODUCT_TOKEN}/{}.{}",
            env!("CARGO_PKG_VERSION_MAJOR"),
            env!("CARGO_PKG_VERSION_MINOR")
        );
        match &self.contact {
            Some(contact) => format!("{product} (+{contact})"),
            None => product,
        }
    }

    /// Shortest time between the starts of two requests to one host.
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// For how long after its last request a host may have to be left alone.
    pub(crate) fn longest_delay(&self) -> Duration {
        let archive = Duration::from_millis(self.archive_delay_ms);
        let crawl_delay = Duration::from_secs(self.max_delay_s);
        self.delay().max(archive).max(crawl_delay)
    }

    /// Largest record of an archive that is read: a page or image with its header.
    #[must_use]
    pub fn max_record_bytes(&self) -> usize {
        self.max_page_bytes.max(self.max_image_bytes) + RECORD_ROOM_BYTES
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let at_least_one = [
            ("connections_per_host", self.connections_per_host as u64),
            ("concurrency", self.concurrency as u64),
            ("connect_timeout_s", self.connect_timeout_s),
            ("header_timeout_s", self.header_timeout_s),
            ("total_timeout_s", self.total_timeout_s),
            ("min_bytes_per_s", self.min_bytes_per_s),
            ("max_page_bytes", self.max_page_bytes as u64),
            ("max_image_bytes", self.max_image_bytes as u64),
        ];
        for (field, value) in at_least_one {
            if value == 0 {
                return Err(Error::Config {
                    field,
                    value: value.to_string(),
                    advice: "set it to 1 or more",
                });
            }
        }
        if let Some(contact) = &self.contact
            && !contact.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        {
            return Err(Error::Config {
                field: "contact",
                value: format!("`{}`", contact.escape_debug()),
                advice: "give a URL or an e-mail address in ASCII",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_agent_names_the_product_and_the_contact() {
        let mut config = Config::default();
        assert_eq!(config.user_agent(), "mwwbot/0.1");
        config.contact = Some("https://example.org/bot".to_owned());
        assert_eq!(config.user_agent(), "mwwbot/0.1 (+https://example.org/bot)");
    }

    #[test]
    fn a_contact_cannot_smuggle_a_header() {
        let config = Config {
            contact: Some("a\r\nX-Other: 1".to_owned()),
            ..Config::default()
        };
        assert!(config.check().is_err());
    }

    #[test]
    fn unknown_fields_are_refused() {
        let unknown = serde_json::from_str::<Config>(r#"{"dealy_ms": 1}"#);
        assert!(unknown.unwrap_err().to_string().contains("dealy_ms"));
    }
}
