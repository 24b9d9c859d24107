//! URLs that wait, by host.

use std::collections::{HashMap, VecDeque};

/// What waits to be fetched, so that no host's queue holds up another's.
///
/// A list may name ten thousand pages of one slow host in a row. Taken in that order they would
/// fill every place and keep the fast hosts behind them waiting. So each host has a queue of its
/// own and a few places, and the hosts that have a place free take turns.
///
/// Memory held is the items and about 150 bytes for each host that has any.
#[derive(Debug)]
pub struct Frontier<T> {
    hosts: HashMap<String, Queue<T>>,
    /// Hosts with something waiting and a place free, each once.
    ready: VecDeque<String>,
    waiting: usize,
    places_per_host: usize,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<T>,
    running: usize,
    is_ready: bool,
}

impl<T> Frontier<T> {
    /// A frontier that lets `places_per_host` items of one host be worked on at a time.
    #[must_use]
    pub fn new(places_per_host: usize) -> Self {
        Self {
            hosts: HashMap::new(),
            ready: VecDeque::new(),
            waiting: 0,
            places_per_host: places_per_host.max(1),
        }
    }

    /// Adds an item behind those of its host.
    pub fn push(&mut self, host: &str, item: T) {
        if !self.hosts.contains_key(host) {
            let queue = Queue {
                items: VecDeque::new(),
                running: 0,
                is_ready: false,
            };
            self.hosts.insert(host.to_owned(), queue);
        }
        if let Some(queue) = self.hosts.get_mut(host) {
            queue.items.push_back(item);
            self.waiting += 1;
        }
        self.settle(host);
    }

    /// The next item, and the host whose place it takes until [`Frontier::finished`] is told.
    /// `None` if nothing waits, or only for places.
    pub fn take(&mut self) -> Option<(String, T)> {
        let host = self.ready.pop_front()?;
        let queue = self.hosts.get_mut(&host)?;
        queue.is_ready = false;
        let item = queue.items.pop_front()?;
        queue.running += 1;
        self.waiting -= 1;
        self.settle(&host);
        Some((host, item))
    }

    /// Gives a host's place back.
    pub fn finished(&mut self, host: &str) {
        if let Some(queue) = self.hosts.get_mut(host) {
            queue.running = queue.running.saturating_sub(1);
        }
        self.settle(host);
    }

    /// Items that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Puts a host in line if it should stand there, and forgets it if there is nothing to know.
    fn settle(&mut self, host: &str) {
        let Some(queue) = self.hosts.get_mut(host) else {
            return;
        };
        if queue.items.is_empty() && queue.running == 0 {
            self.hosts.remove(host);
        } else if !queue.is_ready && !queue.items.is_empty() && queue.running < self.places_per_host
        {
            queue.is_ready = true;
            self.ready.push_back(host.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_take_turns_and_none_gets_more_places_than_allowed() {
        let mut frontier = Frontier::new(2);
        for item in 0..4 {
            frontier.push("slow", item);
        }
        frontier.push("fast", 9);
        let mut taken = Vec::new();
        while let Some((host, item)) = frontier.take() {
            taken.push((host, item));
        }
        let expected = [("slow", 0), ("fast", 9), ("slow", 1)];
        assert_eq!(taken, expected.map(|(host, item)| (host.to_owned(), item)));
        assert_eq!(frontier.waiting(), 2);
        frontier.finished("slow");
        assert_eq!(frontier.take(), Some(("slow".to_owned(), 2)));
        assert_eq!(frontier.take(), None);
    }

    #[test]
    fn a_host_with_nothing_left_is_forgotten() {
        let mut frontier = Frontier::new(1);
        frontier.push("a", ());
        frontier.take();
        frontier.finished("a");
        assert!(frontier.hosts.is_empty() && frontier.ready.is_empty());
    }
}
