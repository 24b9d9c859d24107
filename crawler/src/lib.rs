//! URLs to pages and images, politely: HTTP, `robots.txt`, consent, WARC.
//!
//! [`Crawler::fetch_page`] takes a URL through all the rules of this crate, in this order:
//!
//! 1. [`check_url`]: only `http` and `https`, only public addresses, however they are spelt; each
//!    name is resolved once, its addresses are checked, and only those are connected to.
//! 2. [`robots`]: the origin's `robots.txt`, fetched once, after the same checks; then its files
//!    on reuse ([`Reservations`]).
//! 3. Politeness: few connections and a pause per host; `Crawl-delay` and `Retry-After` are kept.
//! 4. The request, with deadlines for connection, header and body, and a least rate.
//! 5. Redirects, each of which starts again at 1.
//! 6. [`consent`] in the header, before the body is read.
//! 7. The body within its cap ([`decode_body`]): a bomb costs the cap.
//! 8. [`charset`]: bytes to UTF-8; then consent in the page's `<meta>` elements, and
//!    [`meta_refresh`], a redirect like any other.
//!
//! [`warc`] gives the same [`Page`]s from WARC files, without any request, and writes such files.
//!
//! [`Archives`] are the WARC files of a crawl: those it writes, those it takes answers from, and
//! those of earlier crawls, whose pages and images are asked for only if they have changed.
//!
//! [`links`] and [`Sitemap`] say where a page and a site lead, [`Traps`] where to stop.
//!
//! What goes wrong with one URL is a [`Failure`]: a value to count by its reason. [`Error`] is for
//! what stops a run: a wrong setting, an unreadable file.
//!
//! ```
//! use m3w_crawler::{check_url, normalise, robots::Robots};
//!
//! let url = normalise("https://user@EXAMPLE.org/a/../b#part")?;
//! assert_eq!(url.as_str(), "https://example.org/b");
//! assert!(check_url(&url).is_ok());
//! assert!(check_url(&normalise("http://0x7f.1/")?).is_err());
//!
//! let robots = Robots::parse(b"User-agent: *\nDisallow: /private/\n");
//! assert!(robots.is_allowed("mwwbot", url.as_str()));
//! assert!(!robots.is_allowed("mwwbot", "/private/page"));
//! # Ok::<(), m3w_crawler::Failure>(())
//! ```

mod access;
mod address;
mod body;
pub mod charset;
mod conditions;
mod config;
mod connections;
pub mod consent;
mod crawler;
mod dns;
mod error;
mod failure;
mod fault;
mod fetch;
mod frontier;
mod links;
mod meta;
mod page;
mod path_pattern;
mod places;
mod politeness;
mod registrable;
mod reservations;
pub mod robots;
mod sitemap;
mod traps;
mod wait;
pub mod warc;

pub use address::{check_url, is_public_address, normalise};
pub use body::decode_body;
pub use config::{Config, PRODUCT_TOKEN};
pub use consent::Signal;
pub use crawler::{Archives, Crawler, Piece, Stats};
pub use dns::{CheckedResolver, LookUp, LookingUp, SystemLookUp};
pub use error::Error;
pub use failure::{Failure, FailureKind};
pub use frontier::Frontier;
pub use links::{Scope, links};
pub use page::{Body, Page, RecordLocation};
pub use registrable::registrable_domain;
pub use reservations::Reservations;
pub use sitemap::Sitemap;
pub use traps::{TrapConfig, Traps};
pub use wait::{Refresh, meta_refresh, retry_after};
