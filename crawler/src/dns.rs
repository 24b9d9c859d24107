//! Names to addresses, checked before anyone connects to them.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::address::{AddressRules, is_public_address};

/// How long an answer is used. The system's resolver does not tell the record's own time; five
/// minutes is a common one, and short enough to follow a host that moves.
const TIME_TO_LIVE: Duration = Duration::from_secs(300);

/// Names held at a time: about 10 MB.
const MAX_NAMES: usize = 65_536;

/// The only way from a name to a connection: the addresses handed on are the ones that were
/// checked, and nobody resolves again between the check and the connection, so a name cannot
/// change its mind (DNS rebinding).
pub(crate) struct CheckedResolver {
    rules: AddressRules,
    cache: Arc<Mutex<HashMap<String, Answer>>>,
}

#[derive(Clone)]
struct Answer {
    until: Instant,
    addresses: Arc<[IpAddr]>,
}

impl CheckedResolver {
    pub(crate) fn new(rules: AddressRules) -> Self {
        Self {
            rules,
            cache: Arc::default(),
        }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_ascii_lowercase();
        let may_be_private = self.rules.may_be_private(&name);
        let cache = Arc::clone(&self.cache);
        Box::pin(async move {
            if let Some(addresses) = look_up(&cache, &name) {
                return Ok(sockets(&addresses));
            }
            let answers = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses = permitted(answers.map(|socket| socket.ip()), may_be_private).map_err(
                |address| -> Box<dyn StdError + Send + Sync> { Box::new(NotPublic { address }) },
            )?;
            store(&cache, name, Arc::clone(&addresses));
            Ok(sockets(&addresses))
        })
    }
}

/// The addresses one may connect to, or one of those refused if none is left.
fn permitted(
    answers: impl Iterator<Item = IpAddr>,
    may_be_private: bool,
) -> Result<Arc<[IpAddr]>, Option<IpAddr>> {
    let mut refused = None;
    let mut addresses = Vec::new();
    for address in answers {
        if may_be_private || is_public_address(address) {
            addresses.push(address);
        } else {
            refused = Some(address);
        }
    }
    if addresses.is_empty() {
        return Err(refused);
    }
    Ok(addresses.into())
}

fn look_up(cache: &Mutex<HashMap<String, Answer>>, name: &str) -> Option<Arc<[IpAddr]>> {
    let cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = cache.get(name)?;
    (answer.until > Instant::now()).then(|| Arc::clone(&answer.addresses))
}

fn store(cache: &Mutex<HashMap<String, Answer>>, name: String, addresses: Arc<[IpAddr]>) {
    let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    if cache.len() >= MAX_NAMES {
        cache.retain(|_, answer| answer.until > now);
    }
    if cache.len() >= MAX_NAMES {
        cache.clear();
    }
    let until = now + TIME_TO_LIVE;
    cache.insert(name, Answer { until, addresses });
}

fn sockets(addresses: &Arc<[IpAddr]>) -> Addrs {
    // Port 0 means: the port of the URL.
    let sockets: Vec<_> = addresses.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
    Box::new(sockets.into_iter())
}

/// A name that resolves, but to nothing one may connect to.
#[derive(Debug)]
pub(crate) struct NotPublic {
    /// `None` if the answer was empty.
    pub(crate) address: Option<IpAddr>,
}

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "the name resolves to {address}, which is not public"),
            None => write!(f, "the name has no address"),
        }
    }
}

impl StdError for NotPublic {}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn closed_addresses_are_left_out_of_a_mixed_answer() {
        let answers = addresses(&["93.184.216.34", "127.0.0.1", "::ffff:10.0.0.1"]);
        let kept = permitted(answers.into_iter(), false).unwrap();
        assert_eq!(*kept, *addresses(&["93.184.216.34"]));
    }

    #[test]
    fn an_answer_of_closed_addresses_alone_is_refused() {
        let answers = addresses(&["10.0.0.5"]);
        let refused = permitted(answers.clone().into_iter(), false).unwrap_err();
        assert_eq!(refused, Some(answers[0]));
        assert!(permitted(answers.into_iter(), true).is_ok());
    }
}
