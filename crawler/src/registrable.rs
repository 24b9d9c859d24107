//! Which hosts belong to one owner.

/// The registrable domain of a host name: its public suffix and one label more, by the Public
/// Suffix List, in lower case. `None` for a public suffix itself, for an address, and for what is
/// no name.
///
/// ```
/// use m3w_crawler::registrable_domain;
///
/// assert_eq!(registrable_domain("A.example.co.uk").as_deref(), Some("example.co.uk"));
/// assert_eq!(registrable_domain("co.uk"), None);
/// ```
#[must_use]
pub fn registrable_domain(host: &str) -> Option<String> {
    let host = host.strip_suffix('.').unwrap_or(host).to_lowercase();
    let is_address = host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[');
    if is_address || host.split('.').any(str::is_empty) {
        return None;
    }
    psl::domain_str(&host).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_to_what_somebody_can_own() {
        for (host, expected) in [
            ("www.test.ac.jp", Some("test.ac.jp")),
            ("example.COM.", Some("example.com")),
            ("a.github.io", Some("a.github.io")),
            ("a.unlisted", Some("a.unlisted")),
            ("kyoto.jp", None),
            (".example.com", None),
            ("127.0.0.1", None),
            ("[::1]", None),
        ] {
            assert_eq!(registrable_domain(host).as_deref(), expected, "{host}");
        }
    }
}
