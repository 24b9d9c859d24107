//! Connections that wait to be used again, so many and no more.
//!
//! A crawl that goes from host to host leaves a connection behind at each. The HTTP client closes
//! them when they are old, but knows no bound on their number: a crawl of two thousand new hosts a
//! minute would run out of file descriptors. So a client serves a number of hosts; then a new one
//! takes its place, and the old one goes, with all its connections, when its last request has
//! ended. A host whose turn goes on connects once more.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use reqwest::Client;

use crate::dns::CheckedResolver;
use crate::{Config, Error, fetch};

/// Most hosts of one client: four times as many as pages are in flight by default, so that hosts
/// whose turn goes on seldom lose their connection. At 20 kB for each that is 80 MB.
const MOST_HOSTS: u64 = 4096;
/// Fewest, on a machine that gives hardly any file descriptors.
const FEWEST_HOSTS: u64 = 16;

/// The HTTP client, renewed now and then.
pub(crate) struct Connections {
    config: Config,
    resolver: CheckedResolver,
    max_hosts: usize,
    current: Mutex<Current>,
}

struct Current {
    client: Client,
    /// Hashes of the hosts that it was used for.
    hosts: HashSet<u64>,
}

impl Connections {
    pub(crate) fn new(config: &Config, resolver: CheckedResolver) -> Result<Self, Error> {
        let client = fetch::client(config, resolver.clone())?;
        Ok(Self {
            config: config.clone(),
            resolver,
            max_hosts: max_hosts(config),
            current: Mutex::new(Current {
                client,
                hosts: HashSet::new(),
            }),
        })
    }

    /// The client to ask this host with.
    pub(crate) fn client(&self, host: &str) -> Client {
        let mut hasher = DefaultHasher::new();
        host.hash(&mut hasher);
        let host = hasher.finish();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !current.hosts.contains(&host);
        if is_new && current.hosts.len() >= self.max_hosts {
            // What could be made at the start fails now only for want of something that the old
            // one, kept on, would not take either.
            if let Ok(client) = fetch::client(&self.config, self.resolver.clone()) {
                current.client = client;
                current.hosts.clear();
            }
        }
        current.hosts.insert(host);
        current.client.clone()
    }
}

/// Hosts of one client: half of the file descriptors are for connections that wait.
fn max_hosts(config: &Config) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let for_waiting = limit.unwrap_or(u64::MAX) / 2;
    let hosts = for_waiting / config.connections_per_host.max(1) as u64;
    usize::try_from(hosts.clamp(FEWEST_HOSTS, MOST_HOSTS)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dns::SystemLookUp;

    #[test]
    fn a_client_serves_so_many_hosts_and_then_another_takes_its_place() {
        let config = Config {
            connections_per_host: usize::MAX,
            ..Config::default()
        };
        let resolver = CheckedResolver::new(&config, Arc::new(SystemLookUp));
        let connections = Connections::new(&config, resolver).unwrap();
        let hosts = || connections.current.lock().unwrap().hosts.len();
        for number in 0..16 {
            connections.client(&format!("h{number}.test"));
        }
        assert_eq!(hosts(), 16);
        connections.client("h3.test");
        assert_eq!(hosts(), 16);
        connections.client("h16.test");
        assert_eq!(hosts(), 1);
    }
}
