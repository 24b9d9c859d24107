//! Names to addresses, checked before anyone connects to them.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::Instant;

use crate::address::{AddressRules, is_public_address};
use crate::{Config, Failure, FailureKind};

/// How long an answer is used. The system's resolver does not tell the record's own time; five
/// minutes is a common one, and short enough to follow a host that moves.
const TIME_TO_LIVE: Duration = Duration::from_secs(300);

/// How long a name that did not resolve is not asked for again: a list may name a dead host ten
/// thousand times.
const FAILURE_TIME_TO_LIVE: Duration = Duration::from_secs(60);

/// Names held at a time: about 10 MB.
const MAX_NAMES: usize = 65_536;

/// The addresses of a name, when they are there.
pub type LookingUp = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Who is asked for a name's addresses.
pub trait LookUp: Send + Sync + 'static {
    /// All addresses of a name, checked by nobody yet.
    fn look_up(&self, name: &str) -> LookingUp;
}

/// The resolver of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookUp;

impl LookUp for SystemLookUp {
    fn look_up(&self, name: &str) -> LookingUp {
        let name = name.to_owned();
        Box::pin(async move {
            let answers = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(answers.map(|socket| socket.ip()).collect())
        })
    }
}

/// The only way from a name to a connection: the addresses handed on are the ones that were
/// checked, and nobody resolves again between the check and the connection, so a name cannot
/// change its mind (DNS rebinding). Cheap to clone; clones share what they remember.
#[derive(Clone)]
pub struct CheckedResolver {
    rules: AddressRules,
    look_up: Arc<dyn LookUp>,
    cache: Arc<Mutex<HashMap<String, Answer>>>,
}

#[derive(Clone)]
struct Answer {
    until: Instant,
    addresses: Result<Arc<[IpAddr]>, Refusal>,
}

impl CheckedResolver {
    /// A resolver under the address rules of a configuration.
    #[must_use]
    pub fn new(config: &Config, look_up: Arc<dyn LookUp>) -> Self {
        Self {
            rules: AddressRules::new(config),
            look_up,
            cache: Arc::default(),
        }
    }

    /// The addresses of a name that may be connected to, never empty.
    ///
    /// # Errors
    ///
    /// [`FailureKind::Dns`] if the name does not resolve, [`FailureKind::PrivateAddress`] if it
    /// resolves to closed addresses alone.
    pub async fn addresses(&self, name: &str) -> Result<Arc<[IpAddr]>, Failure> {
        self.resolve_name(name)
            .await
            .map_err(|refusal| Failure::new(refusal.kind(), refusal.to_string()))
    }

    async fn resolve_name(&self, name: &str) -> Result<Arc<[IpAddr]>, Refusal> {
        let name = name.to_ascii_lowercase();
        if let Some(known) = self.remembered(&name) {
            return known;
        }
        let may_be_private = self.rules.may_be_private(&name);
        let addresses = match self.look_up.look_up(&name).await {
            Ok(answers) => permitted(answers.into_iter(), may_be_private),
            Err(error) => Err(Refusal::Unresolved(error.to_string())),
        };
        self.remember(name, addresses.clone());
        addresses
    }

    fn remembered(&self, name: &str) -> Option<Result<Arc<[IpAddr]>, Refusal>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = cache.get(name)?;
        (answer.until > Instant::now()).then(|| answer.addresses.clone())
    }

    fn remember(&self, name: String, addresses: Result<Arc<[IpAddr]>, Refusal>) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if cache.len() >= MAX_NAMES {
            cache.retain(|_, answer| answer.until > now);
        }
        if cache.len() >= MAX_NAMES {
            cache.clear();
        }
        let time_to_live = match addresses {
            Ok(_) => TIME_TO_LIVE,
            Err(_) => FAILURE_TIME_TO_LIVE,
        };
        let until = now + time_to_live;
        cache.insert(name, Answer { until, addresses });
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            match resolver.resolve_name(name.as_str()).await {
                Ok(addresses) => Ok(sockets(&addresses)),
                Err(refusal) => Err(Box::new(refusal) as Box<dyn StdError + Send + Sync>),
            }
        })
    }
}

/// The addresses one may connect to, or one of those refused if none is left.
fn permitted(
    answers: impl Iterator<Item = IpAddr>,
    may_be_private: bool,
) -> Result<Arc<[IpAddr]>, Refusal> {
    let mut refusal = Refusal::Empty;
    let mut addresses = Vec::new();
    for address in answers {
        if may_be_private || is_public_address(address) {
            addresses.push(address);
        } else {
            refusal = Refusal::NotPublic(address);
        }
    }
    if addresses.is_empty() {
        return Err(refusal);
    }
    Ok(addresses.into())
}

fn sockets(addresses: &Arc<[IpAddr]>) -> Addrs {
    // Port 0 means: the port of the URL.
    let sockets: Vec<_> = addresses.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
    Box::new(sockets.into_iter())
}

/// Why there is no address to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// What the resolver says.
    Unresolved(String),
    /// The answer had no address in it.
    Empty,
    /// The answer had only closed addresses in it; this is one of them.
    NotPublic(IpAddr),
}

impl Refusal {
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::Unresolved(_) | Self::Empty => FailureKind::Dns,
            Self::NotPublic(_) => FailureKind::PrivateAddress,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved(detail) => write!(f, "{detail}"),
            Self::Empty => write!(f, "the name has no address"),
            Self::NotPublic(address) => {
                write!(f, "the name resolves to {address}, which is not public")
            }
        }
    }
}

impl StdError for Refusal {}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Gives one answer after the other, whatever it is asked.
    struct Scripted(Mutex<VecDeque<Vec<IpAddr>>>);

    impl LookUp for Scripted {
        fn look_up(&self, _: &str) -> LookingUp {
            let answer = self.0.lock().unwrap().pop_front();
            Box::pin(async move { answer.ok_or(io::Error::other("no such name")) })
        }
    }

    fn resolver(answers: &[&[&str]]) -> CheckedResolver {
        let answers = answers.iter().map(|texts| addresses(texts)).collect();
        CheckedResolver::new(&Config::default(), Arc::new(Scripted(Mutex::new(answers))))
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
        assert_eq!(refused, Refusal::NotPublic(answers[0]));
        assert!(permitted(answers.into_iter(), true).is_ok());
    }

    #[tokio::test]
    async fn a_name_cannot_change_its_mind_between_two_connections() {
        let resolver = resolver(&[&["93.184.216.34"], &["127.0.0.1"]]);
        for _ in 0..2 {
            let kept = resolver.addresses("Rebind.test").await.unwrap();
            assert_eq!(*kept, *addresses(&["93.184.216.34"]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_looked_up_again_when_its_time_is_over() {
        let resolver = resolver(&[&["93.184.216.34"], &["93.184.216.35"], &[]]);
        let mut found = Vec::new();
        for wait_s in [0, 299, 2, 301] {
            tokio::time::advance(Duration::from_secs(wait_s)).await;
            let kept = resolver.addresses("moving.test").await.ok();
            found.push(kept.map(|addresses| addresses[0].to_string()));
        }
        let address = |text: &str| Some(text.to_owned());
        let (old, new) = (address("93.184.216.34"), address("93.184.216.35"));
        assert_eq!(found, [old.clone(), old, new, None]);
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_asked_for_once() {
        let resolver = resolver(&[]);
        let failure = resolver.addresses("gone.test").await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Dns);
        let again = resolver.addresses("gone.test").await.unwrap_err();
        assert_eq!(again, failure);
    }
}
