//! Which URLs, names and addresses may be asked at all.
//!
//! A URL from the web can point anywhere, also at machines that only we can reach. So every URL is
//! checked before its first request and after every redirect, in whatever spelling ([`Url`] has
//! settled those: `0x7f.1` is 127.0.0.1), and every address that a name resolves to is checked
//! before the connection ([`crate::dns`]).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use crate::{Config, Failure, FailureKind};

/// Ports that speak other protocols, which a request could be taken for a command of: the "bad
/// ports" of the Fetch standard, and below them the line protocols of common caches.
const CLOSED_PORTS: [u16; 85] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
    465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990,
    993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667,
    6668, 6669, 6679, 6697, 10080, 6379, 11211,
];

/// Name endings that only a local network resolves: RFC 6761, RFC 6762, RFC 8375, and `internal`,
/// which ICANN has set aside for private use and metadata services use.
const LOCAL_SUFFIXES: [&str; 4] = ["localhost", "local", "internal", "home.arpa"];

/// Longest URL that is asked for. RFC 9110, 4.1 wants servers to take 8,000 bytes; common ones
/// refuse anything beyond 8 or 16 KiB.
const MAX_URL_BYTES: usize = 16 << 10;

/// A URL from outside as we work with it: absolute, `http` or `https`, of 16 KiB at most, without
/// credentials (they are never sent) and without a fragment.
///
/// # Errors
///
/// [`FailureKind::BadUrl`] if it is not one.
pub fn normalise(input: &str) -> Result<Url, Failure> {
    let url = Url::parse(input.trim())
        .map_err(|error| Failure::new(FailureKind::BadUrl, error.to_string()))?;
    tidy(url)
}

/// The same for a URL already parsed.
pub(crate) fn tidy(mut url: Url) -> Result<Url, Failure> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Failure::new(
            FailureKind::BadUrl,
            format!("the scheme is {}, not http or https", url.scheme()),
        ));
    }
    url.set_fragment(None);
    let length = url.as_str().len();
    if length > MAX_URL_BYTES {
        return Err(Failure::new(
            FailureKind::BadUrl,
            format!("{length} bytes are more than a server takes"),
        ));
    }
    // Both calls fail only for URLs without a host, which an http URL has.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(Failure::new(FailureKind::BadUrl, "there is no host"));
    }
    Ok(url)
}

/// Whether the URL may be asked under the rules for the public web. A name may still resolve to a
/// closed address; that is checked when it does.
///
/// # Errors
///
/// [`FailureKind::BadUrl`] or [`FailureKind::PrivateAddress`].
pub fn check_url(url: &Url) -> Result<(), Failure> {
    check_form(url)?;
    let private = |what: &str| Err(Failure::new(FailureKind::PrivateAddress, what));
    match url.host() {
        Some(Host::Ipv4(address)) if !is_public_address(address.into()) => {
            private(&format!("{address} is not a public address"))
        }
        Some(Host::Ipv6(address)) if !is_public_address(address.into()) => {
            private(&format!("{address} is not a public address"))
        }
        Some(Host::Domain(name)) if is_local_name(name) => {
            private(&format!("{name} is a name of a local network"))
        }
        Some(_) => Ok(()),
        None => Err(Failure::new(FailureKind::BadUrl, "there is no host")),
    }
}

/// The part of the rules that holds wherever the host is: scheme and port.
fn check_form(url: &Url) -> Result<(), Failure> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Failure::new(
            FailureKind::BadUrl,
            format!("the scheme is {}, not http or https", url.scheme()),
        ));
    }
    match url.port_or_known_default() {
        Some(port) if !CLOSED_PORTS.contains(&port) => Ok(()),
        _ => Err(Failure::new(
            FailureKind::BadUrl,
            "the port belongs to another protocol",
        )),
    }
}

/// Names without a dot come from a hosts file or a search list, never from the public DNS.
fn is_local_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    !name.contains('.')
        || LOCAL_SUFFIXES.iter().any(|suffix| {
            name.strip_suffix(suffix)
                .is_some_and(|rest| rest.ends_with('.'))
        })
}

/// Whether an address is one of the public Internet: not loopback, private, shared, link-local,
/// multicast, reserved, for documentation, or a metadata service; addresses that carry an IPv4
/// address inside count as that one. Source: the IANA special-purpose registries of IPv4 and IPv6.
#[must_use]
pub fn is_public_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let closed = match address.octets() {
        [0 | 10 | 127, ..] => true,
        [100, second, ..] => (64..128).contains(&second),
        [169, 254, ..] => true,
        [172, second, ..] => (16..32).contains(&second),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [192, 168, ..] => true,
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        // The platform address of Azure: public by number, answered by the machine's own host.
        [168, 63, 129, 16] => true,
        [first, ..] => first >= 224,
    };
    !closed
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => embedded(high, low),
        // NAT64 (RFC 6052): what networks without IPv4 reach the rest of the web by.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // Teredo and the other protocol assignments, 6to4, documentation: nobody serves the web
        // from them, and the tunnels lead to an IPv4 address of the writer's choice.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x2002, ..] => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        // Global unicast is 2000::/3 so far; the rest is reserved, local or multicast.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// The rules as configured: which hosts are exempt from the demand for a public address.
#[derive(Debug, Clone)]
pub(crate) struct AddressRules {
    allow_all: bool,
    /// Lower-case `host` or `host:port`.
    exempt: Vec<String>,
}

impl AddressRules {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            allow_all: config.allow_private_addresses,
            exempt: config
                .allowed_private_hosts
                .iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
        }
    }

    /// As [`check_url`], with the exemptions.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Failure> {
        if self.is_exempt(url) {
            return check_form(url);
        }
        check_url(url)
    }

    fn is_exempt(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return false;
        };
        self.allow_all
            || self.exempt.iter().any(|entry| {
                entry == host
                    || entry
                        .strip_prefix(host)
                        .and_then(|rest| rest.strip_prefix(':'))
                        .is_some_and(|text| text.parse() == Ok(port))
            })
    }

    /// Whether a name may resolve to an address that is not public.
    pub(crate) fn may_be_private(&self, name: &str) -> bool {
        self.allow_all
            || self.exempt.iter().any(|entry| {
                let host = entry
                    .rsplit_once(':')
                    .map_or(entry.as_str(), |(host, _)| host);
                host == name || entry == name
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(input: &str) -> Option<FailureKind> {
        normalise(input)
            .and_then(|url| check_url(&url))
            .err()
            .map(|failure| failure.kind)
    }

    #[test]
    fn loopback_is_refused_in_every_spelling() {
        for url in [
            "http://127.1/",
            "http://0x7f000001/",
            "http://017700000001/",
            "http://127.0.0.1./",
            "http://①②⑦.0.0.1/",
            "http://LOCALHOST./",
            "http://a.localhost/",
            "http://[::ffff:7f00:1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://example.com@127.0.0.1/",
        ] {
            assert_eq!(verdict(url), Some(FailureKind::PrivateAddress), "{url}");
        }
    }

    #[test]
    fn the_neighbours_of_closed_ranges_are_open() {
        for url in [
            "http://172.15.255.255/",
            "http://172.32.0.1/",
            "http://100.63.255.255/",
            "http://[2606:4700:4700::1111]/",
            "http://[64:ff9b::808:808]/",
            "http://127.0.0.1.example.com/",
        ] {
            assert_eq!(verdict(url), None, "{url}");
        }
    }

    #[test]
    fn ports_of_other_protocols_are_refused() {
        assert_eq!(verdict("http://example.com:25/"), Some(FailureKind::BadUrl));
        assert_eq!(verdict("http://example.com:8080/"), None);
    }

    #[test]
    fn credentials_and_fragments_do_not_survive() {
        let url = normalise(" http://user:pass@example.com/a#b ").unwrap();
        assert_eq!(url.as_str(), "http://example.com/a");
    }

    #[test]
    fn a_url_longer_than_any_server_takes_is_none() {
        let url = |bytes: usize| format!("http://example.com/{}", "a".repeat(bytes));
        assert!(normalise(&url(8_000)).is_ok());
        let failure = normalise(&url(MAX_URL_BYTES)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BadUrl);
    }

    #[test]
    fn an_exemption_opens_one_port_of_one_host() {
        let rules = AddressRules::new(&Config {
            allowed_private_hosts: vec!["127.0.0.1:8090".to_owned()],
            ..Config::default()
        });
        let check = |text: &str| rules.check(&Url::parse(text).unwrap()).is_ok();
        assert!(check("http://127.0.0.1:8090/"));
        assert!(!check("http://127.0.0.1:8091/"));
        assert!(!check("http://127.0.0.2:8090/"));
        assert!(check("http://example.com/"));
    }
}
