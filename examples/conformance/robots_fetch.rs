//! `robots/fetch.jsonl`: a server on loopback answers `/robots.txt` in the way of the case, and a
//! crawler asks it for a page that the file's rules close and for one that they leave open.

use std::net::TcpListener;
use std::time::Duration;

use m3w::crawler::{Config, Crawler, FailureKind};
use serde::Deserialize;
use url::Url;

use crate::loopback::{Answer, Server};
use crate::report::{Mismatch, Outcome, check as holds, same};

#[derive(Deserialize)]
pub(crate) struct Row {
    case: String,
    http: String,
    expect: String,
}

/// What the server does when it is asked for `/robots.txt`.
struct Scene {
    /// `None`: nobody listens.
    status: Option<u16>,
    retry_after: Option<String>,
    redirects: Redirects,
    rules: Vec<u8>,
    /// How many hours old the file at hand is, where the case is about that.
    cached_hours: Option<u64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Redirects {
    Times(usize),
    Endless,
    OtherHost,
}

/// What the crawler made of the two pages.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    closed: Access,
    open: Access,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Access {
    Fetched,
    Refused,
    Failed,
}

const RULES: &str = "User-agent: *\nDisallow: /closed\n";
const OBEYED: Seen = Seen {
    closed: Access::Refused,
    open: Access::Fetched,
};
const ALL_OPEN: Seen = Seen {
    closed: Access::Fetched,
    open: Access::Fetched,
};
const ALL_CLOSED: Seen = Seen {
    closed: Access::Refused,
    open: Access::Refused,
};

pub(crate) fn check(row: Row) -> Outcome {
    let scene = Scene::parse(&row)
        .ok_or_else(|| Mismatch::new("a case that can be staged here", row.http.clone()))?;
    let failed = |error: &dyn std::fmt::Display| Mismatch::new("a crawl", error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?;
    if let Some(hours) = scene.cached_hours {
        return runtime.block_on(scene.check_age(hours, &row.expect));
    }
    let (crawler, origin, server) = scene.stage(Config::default())?;
    let seen = runtime.block_on(async {
        Ok::<_, Mismatch>(Seen {
            closed: fetch(&crawler, &origin, "/closed").await?,
            open: fetch(&crawler, &origin, "/open").await?,
        })
    })?;
    let allowed: &[Seen] = match row.expect.as_str() {
        "obey_rules" | "obey_rules_for_original_host" => &[OBEYED],
        "allow_all" => &[ALL_OPEN],
        "disallow_all" | "disallow_all_and_retry_later" => &[ALL_CLOSED],
        "allow_all_or_stricter" | "allow_all_or_disallow_all_bounded" => &[ALL_OPEN, ALL_CLOSED],
        "either_but_bounded" => &[OBEYED, ALL_OPEN, ALL_CLOSED],
        _ => &[],
    };
    holds(allowed.contains(&seen), &row.expect, || format!("{seen:?}"))?;
    // A page that is refused is not asked for.
    let asked = server.map_or(0, |server| server.count("/closed"));
    same(
        "requests for the closed page",
        &usize::from(seen.closed == Access::Fetched),
        &asked,
    )
}

impl Scene {
    fn parse(row: &Row) -> Option<Self> {
        let first = row.http.split([' ', 'x']).next()?;
        let status = match first {
            "refused" => None,
            number => Some(number.parse().ok()?),
        };
        let is_redirect = status.is_some_and(|status| matches!(status, 300..=399));
        let redirects = if row.http.contains("to itself") {
            Redirects::Endless
        } else if row.http.contains("other host") {
            Redirects::OtherHost
        } else if is_redirect {
            let times = row.http.split(['x', ' ']).nth(1)?;
            Redirects::Times(times.parse().ok()?)
        } else {
            Redirects::Times(0)
        };
        Some(Self {
            status,
            retry_after: row
                .http
                .split_once("Retry-After:")
                .map(|(_, value)| value.trim().to_owned()),
            redirects,
            rules: rules(&row.case),
            cached_hours: number_before(&row.case, " h old"),
        })
    }

    /// A crawler, the origin to crawl, and its server unless nobody shall listen there.
    fn stage(self, config: Config) -> Result<(Crawler, Url, Option<Server>), Mismatch> {
        let failed = |error: std::io::Error| Mismatch::new("a server", error.to_string());
        let (port, server) = if self.status.is_some() {
            let server =
                Server::start(move |path, port| self.answer(path, port)).map_err(failed)?;
            (server.address.port(), Some(server))
        } else {
            // The port is free again when the listener is gone.
            let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
            (listener.local_addr().map_err(failed)?.port(), None)
        };
        let config = Config {
            allowed_private_hosts: vec![format!("127.0.0.1:{port}"), format!("localhost:{port}")],
            delay_ms: 0,
            retries: 0,
            ..config
        };
        let origin = format!("http://127.0.0.1:{port}/")
            .parse()
            .map_err(|error| Mismatch::new("a URL", format!("{error}")))?;
        let crawler =
            Crawler::new(config).map_err(|error| Mismatch::new("a crawler", error.to_string()))?;
        Ok((crawler, origin, server))
    }

    fn answer(&self, path: &str, port: u16) -> Answer {
        let page = || Answer {
            status: 200,
            headers: vec![("Content-Type", "text/html".to_owned())],
            body: b"<p>page</p>".to_vec(),
        };
        let found = || Answer {
            status: 200,
            headers: vec![("Content-Type", "text/plain".to_owned())],
            body: self.rules.clone(),
        };
        let step = path.strip_prefix("/robots.txt").map(|step| {
            let step = step.strip_prefix("?step=").unwrap_or("0");
            step.parse::<usize>().unwrap_or_default()
        });
        let (Some(step), Some(status)) = (step, self.status) else {
            return page();
        };
        if !(300..400).contains(&status) {
            if (200..300).contains(&status) {
                return found();
            }
            let retry_after = self.retry_after.iter();
            return Answer {
                status,
                headers: retry_after
                    .map(|value| ("Retry-After", value.clone()))
                    .collect(),
                body: Vec::new(),
            };
        }
        let next = match self.redirects {
            Redirects::Times(times) if step >= times => return found(),
            Redirects::OtherHost if step > 0 => return found(),
            Redirects::Endless => "/robots.txt".to_owned(),
            Redirects::OtherHost => format!("http://localhost:{port}/robots.txt?step=1"),
            Redirects::Times(_) => format!("/robots.txt?step={}", step + 1),
        };
        Answer {
            status,
            headers: vec![("Location", next)],
            body: Vec::new(),
        }
    }

    /// A file of that age has to be asked for again: the default says so, and a crawler that may
    /// keep a file for one second does so after that.
    async fn check_age(self, hours: u64, expect: &str) -> Outcome {
        let kept = Config::default().robots_ttl_s;
        let is_too_old = hours * 60 * 60 > kept;
        same("refetched", &(expect == "must_refetch"), &is_too_old)?;
        let config = Config {
            robots_ttl_s: 1,
            ..Config::default()
        };
        let (crawler, origin, server) = self.stage(config)?;
        let asked = || {
            let server = server.as_ref();
            server.map_or(0, |server| server.count("/robots.txt"))
        };
        fetch(&crawler, &origin, "/open").await?;
        fetch(&crawler, &origin, "/open").await?;
        same("requests for a fresh file", &1, &asked())?;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        fetch(&crawler, &origin, "/open").await?;
        same("requests after it grew old", &2, &asked())
    }
}

async fn fetch(crawler: &Crawler, origin: &Url, path: &str) -> Result<Access, Mismatch> {
    let url = origin
        .join(path)
        .map_err(|error| Mismatch::new("a URL", error.to_string()))?;
    Ok(match crawler.fetch_page(&url).await {
        Ok(_) => Access::Fetched,
        Err(failure) => match failure.kind {
            FailureKind::Robots | FailureKind::RobotsUnavailable => Access::Refused,
            _ => Access::Failed,
        },
    })
}

/// The rules, as far into a file of as many bytes as the case says.
fn rules(case: &str) -> Vec<u8> {
    let (Some(total), Some(offset)) = (
        number_before(case, " KiB"),
        case.split_once("rule at ")
            .and_then(|(_, rest)| number_before(rest, " KiB")),
    ) else {
        return RULES.as_bytes().to_vec();
    };
    let line = |length: u64| -> Vec<u8> {
        let kibibyte = [b"# ".as_slice(), &[b'-'; 1021], b"\n"].concat();
        kibibyte.repeat(usize::try_from(length).unwrap_or_default())
    };
    let rest = total.saturating_sub(offset);
    [line(offset), RULES.as_bytes().to_vec(), line(rest)].concat()
}

/// The number that stands before the first `unit`.
fn number_before(text: &str, unit: &str) -> Option<u64> {
    let before = &text[..text.find(unit)?];
    let start = before
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |at| at + 1);
    before[start..].parse().ok()
}
