//! Bytes of pictures that came with their documents, within a bound.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;
use url::Url;

/// A picture in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Held {
    /// What it is called in the corpus.
    pub url: Url,
    /// The picture, encoded.
    pub bytes: Bytes,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held({}, {} bytes)", self.url, self.bytes.len())
    }
}

/// How many bytes may be held at a time.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    held: Mutex<usize>,
    freed: Condvar,
}

impl Budget {
    pub(super) fn of(most: usize) -> Self {
        Self {
            most,
            held: Mutex::new(0),
            freed: Condvar::new(),
        }
    }

    /// The pictures of one document, counted until the last of them is dropped. Waits until there
    /// is room for all of them, or nothing else is held.
    pub(super) fn take(self: &Arc<Self>, pictures: Vec<Vec<u8>>) -> Vec<Bytes> {
        let total = pictures.iter().map(Vec::len).sum();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while *held > 0 && *held + total > self.most {
            held = self
                .freed
                .wait(held)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *held += total;
        drop(held);
        let share = Arc::new(Share {
            bytes: total,
            budget: Arc::clone(self),
        });
        let counted = |bytes| {
            let _share = Arc::clone(&share);
            Bytes::from_owner(Counted { bytes, _share })
        };
        pictures.into_iter().map(counted).collect()
    }
}

/// What a document takes of the budget.
struct Share {
    bytes: usize,
    budget: Arc<Budget>,
}

impl Drop for Share {
    fn drop(&mut self) {
        let budget = &self.budget;
        *budget.held.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        budget.freed.notify_all();
    }
}

struct Counted {
    bytes: Vec<u8>,
    _share: Arc<Share>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_more_than_there_is_waits_for_what_is_held() {
        let budget = Arc::new(Budget::of(10));
        let first = budget.take(vec![vec![1; 4], vec![2; 4]]);
        let waiting = {
            let budget = Arc::clone(&budget);
            std::thread::spawn(move || budget.take(vec![vec![3; 20]]).remove(0).len())
        };
        assert_eq!(*budget.held.lock().unwrap(), 8);
        let last = first[1].clone();
        drop(first);
        assert_eq!(*budget.held.lock().unwrap(), 8, "one of them is held");
        drop(last);
        assert_eq!(waiting.join().unwrap(), 20);
        assert_eq!(*budget.held.lock().unwrap(), 0);
    }
}
