//! Memory for pixels that is used again.
//!
//! A batch of 32 rows holds more than 100 MB of pixels. From the system, every page of it comes
//! zeroed at its first touch, which took a third of a loader's time.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Pixels of a batch, a slice of floats. Dropped, its memory serves a later batch of its loader.
pub struct Pixels {
    values: Vec<f32>,
    home: Weak<Shelf>,
    is_zero: bool,
}

/// Memory of batches that are no longer used; at most as many as were in use at one time.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    free: Mutex<Vec<Vec<f32>>>,
}

impl Shelf {
    /// Room for `length` floats, of any values.
    pub(crate) fn take(self: &Arc<Self>, length: usize) -> Pixels {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let held = free.pop().filter(|values| values.len() == length);
        Pixels {
            is_zero: held.is_none(),
            values: held.unwrap_or_else(|| vec![0.0; length]),
            home: Arc::downgrade(self),
        }
    }
}

impl Pixels {
    /// Whether the system gave this memory, so that all of it is zero.
    pub(crate) fn is_zero(&self) -> bool {
        self.is_zero
    }
}

impl Drop for Pixels {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            let mut free = home.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.push(std::mem::take(&mut self.values));
        }
    }
}

impl Deref for Pixels {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Pixels {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

impl Clone for Pixels {
    fn clone(&self) -> Self {
        Self {
            values: self.values.clone(),
            home: Weak::new(),
            is_zero: false,
        }
    }
}

impl PartialEq for Pixels {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl std::fmt::Debug for Pixels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pixels({} values)", self.values.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_used_again() {
        let shelf = Arc::new(Shelf::default());
        let mut first = shelf.take(4);
        assert!(first.is_zero());
        first[0] = 7.0;
        let place = first.as_ptr();
        drop(first);
        let second = shelf.take(4);
        assert_eq!((second.as_ptr(), second.is_zero()), (place, false));
        assert_ne!(shelf.take(4).as_ptr(), place, "it is in use");
    }

    #[test]
    fn another_length_gets_memory_of_its_own() {
        let shelf = Arc::new(Shelf::default());
        drop(shelf.take(4));
        assert_eq!(shelf.take(2).len(), 2);
    }
}
