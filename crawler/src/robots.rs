//! `robots.txt` (RFC 9309): what one host wishes from crawlers.
//!
//! The file is read as the widest-spread reader reads it: a colon may be missing, common
//! misspellings of `disallow` count, lines are cut at 16 kB. Groups that name the same
//! agent are merged; the longest matching rule wins, and on a tie the one that allows.

use std::time::Duration;

use crate::path_pattern::{matches, path_and_query, pattern, upper_case_escapes};

/// How much of a file is read; RFC 9309, 2.5 asks for at least this.
pub const MAX_BYTES: usize = 500 * 1024;

/// What a line is cut at: eight times the longest URL that browsers took.
const MAX_LINE_BYTES: usize = 2_083 * 8;

/// `Sitemap` lines that are read; each may name fifty thousand further files.
const MAX_SITEMAPS: usize = 100;

/// Spellings of `disallow` seen in the wild.
const DISALLOW: [&str; 6] = [
    "disallow",
    "dissallow",
    "dissalow",
    "disalow",
    "diasllow",
    "disallaw",
];

/// A parsed `robots.txt`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Robots {
    groups: Vec<Group>,
    sitemaps: Vec<String>,
}

/// The lines between one run of `User-agent` lines and the next.
#[derive(Debug, Clone, Default, PartialEq)]
struct Group {
    /// Lower case.
    agents: Vec<String>,
    names_everyone: bool,
    rules: Vec<Rule>,
    crawl_delay: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    allows: bool,
    /// ASCII: other bytes are percent-encoded, hexadecimal digits are upper case.
    pattern: String,
}

/// The part of a `robots.txt` that holds for one agent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    rules: Vec<Rule>,
    crawl_delay: Option<Duration>,
}

impl Robots {
    /// Reads a file. Whatever the bytes are, this gives rules; from nonsense it gives none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut groups: Vec<Group> = Vec::new();
        let mut sitemaps = Vec::new();
        // Whether the next `User-agent` line opens a group or adds a name to the last one.
        let mut is_closed = true;
        for line in bytes.split(|byte| matches!(byte, b'\n' | b'\r')) {
            let Some((key, value)) = key_and_value(line) else {
                continue;
            };
            if is_key(&key, &["user-agent", "useragent", "user agent"]) {
                if is_closed {
                    groups.push(Group::default());
                    is_closed = false;
                }
                if let Some(group) = groups.last_mut() {
                    group.add_agent(&value);
                }
                continue;
            }
            // Belongs to no group: RFC 9309, 2.2.4.
            if is_key(&key, &["sitemap"]) {
                if sitemaps.len() < MAX_SITEMAPS {
                    sitemaps.push(value);
                }
                continue;
            }
            // Rules before the first `User-agent` line are addressed to nobody.
            let Some(group) = groups.last_mut() else {
                continue;
            };
            if is_key(&key, &["allow"]) {
                is_closed = true;
                group.add_allow(&value);
            } else if is_key(&key, &DISALLOW) {
                is_closed = true;
                group.add_rule(false, &value);
            } else if is_key(&key, &["crawl-delay"]) {
                group.crawl_delay = group.crawl_delay.or_else(|| seconds(&value));
            }
        }
        Self { groups, sitemaps }
    }

    /// What the file's `Sitemap` lines name, as written: absolute URLs, if they keep to the rules.
    #[must_use]
    pub fn sitemaps(&self) -> &[String] {
        &self.sitemaps
    }

    /// The rules for one agent: those of the groups that name it, or else of those for everyone.
    #[must_use]
    pub fn rules_for(&self, agent: &str) -> Rules {
        let agent = agent.to_ascii_lowercase();
        let is_named = self
            .groups
            .iter()
            .any(|group| group.agents.contains(&agent));
        let mut merged = Rules::default();
        for group in &self.groups {
            let applies = if is_named {
                group.agents.contains(&agent)
            } else {
                group.names_everyone
            };
            if applies {
                merged.rules.extend_from_slice(&group.rules);
                merged.crawl_delay = merged.crawl_delay.max(group.crawl_delay);
            }
        }
        merged
    }

    /// Whether the agent (a product token, such as `mwwbot`) may ask for `url`, an absolute URL or
    /// a path.
    #[must_use]
    pub fn is_allowed(&self, agent: &str, url: &str) -> bool {
        self.rules_for(agent).is_allowed(url)
    }

    /// The pause that the file asks this agent for; the longest if it says several.
    #[must_use]
    pub fn crawl_delay(&self, agent: &str) -> Option<Duration> {
        self.rules_for(agent).crawl_delay()
    }
}

impl Rules {
    /// Whether `url`, an absolute URL or a path, may be asked for. `/robots.txt` always may.
    #[must_use]
    pub fn is_allowed(&self, url: &str) -> bool {
        let path = upper_case_escapes(&path_and_query(url));
        if path == "/robots.txt" {
            return true;
        }
        let longest = |allows: bool| {
            self.rules
                .iter()
                .filter(|rule| rule.allows == allows && matches(&rule.pattern, &path))
                .map(|rule| rule.pattern.len())
                .max()
                .unwrap_or(0)
        };
        longest(true) >= longest(false)
    }

    /// The pause asked for between requests.
    #[must_use]
    pub fn crawl_delay(&self) -> Option<Duration> {
        self.crawl_delay
    }

    /// Memory held, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.rules
            .iter()
            .map(|rule| size_of::<Rule>() + rule.pattern.len())
            .sum()
    }
}

impl Group {
    fn add_agent(&mut self, value: &str) {
        // `*`, also with words behind it, but not `*bot`.
        if let Some(rest) = value.strip_prefix('*')
            && !rest.starts_with(|next: char| !next.is_ascii_whitespace())
        {
            self.names_everyone = true;
            return;
        }
        let token = product_token(value);
        if !token.is_empty() {
            self.agents.push(token.to_ascii_lowercase());
        }
    }

    fn add_allow(&mut self, value: &str) {
        self.add_rule(true, value);
        // `/folder/index.html` also opens `/folder/`, which shows the same page.
        if let Some(slash) = value.rfind('/')
            && value[slash..].starts_with("/index.htm")
        {
            self.add_rule(true, &format!("{}$", &value[..=slash]));
        }
    }

    fn add_rule(&mut self, allows: bool, value: &str) {
        // An empty value says nothing: `Disallow:` allows everything.
        if !value.is_empty() {
            self.rules.push(Rule {
                allows,
                pattern: pattern(value),
            });
        }
    }
}

/// The letters, `-` and `_` at the beginning: RFC 9309, 2.2.1.
fn product_token(value: &str) -> &str {
    let end = value
        .find(|next: char| !(next.is_ascii_alphabetic() || matches!(next, '-' | '_')))
        .unwrap_or(value.len());
    &value[..end]
}

/// Whether a text can stand in a `User-agent` line as it is: letters, `-` and `_` only.
#[must_use]
pub fn is_valid_agent(agent: &str) -> bool {
    !agent.is_empty() && product_token(agent) == agent
}

/// A line without its comment, split at the colon; without a colon, at the white space if that
/// leaves exactly two words.
fn key_and_value(line: &[u8]) -> Option<(String, String)> {
    let line = &line[..line.len().min(MAX_LINE_BYTES - 1)];
    let line = line.split(|byte| *byte == b'#').next()?;
    let line = String::from_utf8_lossy(line);
    let line = line.trim();
    let (key, value) = match line.split_once(':') {
        Some((key, value)) => (key.trim(), value.trim()),
        None => {
            let (key, value) = line.split_once([' ', '\t'])?;
            let value = value.trim();
            if value.contains([' ', '\t']) {
                return None;
            }
            (key, value)
        }
    };
    (!key.is_empty()).then(|| (key.to_ascii_lowercase(), value.to_owned()))
}

fn is_key(key: &str, names: &[&str]) -> bool {
    names.iter().any(|name| key.starts_with(name))
}

fn seconds(value: &str) -> Option<Duration> {
    let seconds: f64 = value.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allows(robots: &str, path: &str) -> bool {
        Robots::parse(robots.as_bytes()).is_allowed("mwwbot", path)
    }

    #[test]
    fn the_longest_rule_wins_and_allow_wins_a_tie() {
        let robots = "user-agent: *\nallow: /x/page\ndisallow: /x/\nallow: /y\ndisallow: /y\n";
        assert!(allows(robots, "/x/page"));
        assert!(!allows(robots, "/x/other"));
        assert!(allows(robots, "/y"));
    }

    #[test]
    fn groups_of_one_agent_are_merged_whatever_the_line_ends() {
        let robots = "\u{feff}User-agent: mwwbot\r\nDisallow: /a\rUser-agent: other\nDisallow: /\n\nUser-agent: MWWBOT\nDisallow: /b";
        assert!(!allows(robots, "/a"));
        assert!(!allows(robots, "/b"));
        assert!(allows(robots, "/c"));
    }

    #[test]
    fn a_group_of_our_own_replaces_the_one_for_everyone() {
        let robots = "User-agent: *\nDisallow: /\n\nUser-agent: mwwbot\nDisallow:\n";
        assert!(allows(robots, "/x"));
        assert!(!Robots::parse(robots.as_bytes()).is_allowed("other", "/x"));
    }

    #[test]
    fn wildcards_and_the_end_anchor_hold() {
        let robots = "user-agent: *\ndisallow: /*.pdf$\ndisallow: /*?session=\n";
        assert!(!allows(robots, "https://h.test/a/b.pdf"));
        assert!(allows(robots, "https://h.test/a/b.pdf?x=1"));
        assert!(!allows(robots, "https://h.test/a?session=1"));
    }

    #[test]
    fn escapes_are_compared_as_octets_but_not_decoded() {
        let robots = "user-agent: *\ndisallow: /ツ\ndisallow: /a%3cd\n";
        assert!(!allows(robots, "/%E3%83%84"));
        assert!(!allows(robots, "/a%3Cd"));
        assert!(allows(robots, "/a<d"));
    }

    #[test]
    fn crawl_delay_is_read_and_does_not_end_the_list_of_agents() {
        let robots =
            Robots::parse(b"user-agent: mwwbot\ncrawl-delay: 1.5\nuser-agent: z\ndisallow: /x\n");
        assert_eq!(
            robots.crawl_delay("mwwbot"),
            Some(Duration::from_millis(1500))
        );
        assert!(!robots.is_allowed("mwwbot", "/x"));
        assert_eq!(
            Robots::parse(b"user-agent: *\ncrawl-delay: -1").crawl_delay("a"),
            None
        );
    }

    #[test]
    fn the_file_itself_may_always_be_asked_for() {
        assert!(allows("user-agent: *\ndisallow: /\n", "/robots.txt"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let robots = Robots::parse(&bytes);
            prop_assert!(robots.is_allowed("mwwbot", "/robots.txt"));
        }
    }
}
