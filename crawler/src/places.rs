//! How many requests may be in flight over all hosts.
//!
//! The number is what the settings say while things go well. When more than half of the requests
//! of a window end in a timeout or without an address, the way out is more likely to be too narrow
//! than half of the web to be gone: the number is halved, down to an eighth. When fewer than a
//! quarter do, it grows again by a sixteenth of the whole. A window is as many requests as may be
//! in flight, so that each decision sees the effect of the last.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A window has at least this many requests: of a handful half fails by chance.
const LEAST_WINDOW: usize = 32;

/// The places. Cheap to clone; clones share them.
#[derive(Clone)]
pub(crate) struct Places(Arc<Inner>);

struct Inner {
    free: Arc<Semaphore>,
    most: usize,
    state: Mutex<State>,
}

struct State {
    limit: usize,
    /// Places that go when those who have them give them back.
    owed: usize,
    /// Requests of this window, and those of them that were lost on the way.
    settled: usize,
    lost: usize,
}

/// The right to have one request in flight; given back when dropped.
pub(crate) struct Place {
    places: Arc<Inner>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Inner {
            free: Arc::new(Semaphore::new(most)),
            most,
            state: Mutex::new(State {
                limit: most,
                owed: 0,
                settled: 0,
                lost: 0,
            }),
        }))
    }

    /// Waits for a place.
    pub(crate) async fn take(&self) -> Place {
        let permit = Arc::clone(&self.0.free)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        Place {
            places: Arc::clone(&self.0),
            permit: Some(permit),
        }
    }

    /// How many there are now.
    pub(crate) fn limit(&self) -> usize {
        self.0.lock().limit
    }
}

impl Place {
    /// Tells how the request ended: lost on the way, by a timeout or for want of an address, or
    /// not.
    pub(crate) fn settle(&self, is_lost: bool) {
        self.places.settle(is_lost);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        if state.owed > 0
            && let Some(permit) = self.permit.take()
        {
            state.owed -= 1;
            permit.forget();
        }
    }
}

impl Inner {
    fn settle(&self, is_lost: bool) {
        let mut state = self.lock();
        state.settled += 1;
        state.lost += usize::from(is_lost);
        if state.settled < state.limit.max(LEAST_WINDOW) {
            return;
        }
        let (settled, lost) = (state.settled, state.lost);
        (state.settled, state.lost) = (0, 0);
        if lost * 2 > settled {
            let limit = (state.limit / 2).max(self.most.div_ceil(8));
            let fewer = state.limit.saturating_sub(limit);
            state.owed += fewer - self.free.forget_permits(fewer);
            state.limit -= fewer;
        } else if lost * 4 < settled {
            let more = self.most.div_ceil(16).min(self.most - state.limit);
            let kept = more.min(state.owed);
            state.owed -= kept;
            self.free.add_permits(more - kept);
            state.limit += more;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Settles a whole window, a share of `lost` in 32 of it lost.
    fn window(places: &Places, lost: usize) {
        let size = places.limit().max(LEAST_WINDOW);
        for number in 0..size {
            places.0.settle(number % 32 < lost);
        }
    }

    #[test]
    fn places_are_halved_while_most_requests_are_lost_and_come_back() {
        let places = Places::new(256);
        let mut limits = Vec::new();
        for lost in [20, 20, 32, 32, 12, 0, 0] {
            window(&places, lost);
            limits.push(places.limit());
        }
        assert_eq!(limits, [128, 64, 32, 32, 32, 48, 64]);
        for _ in 0..20 {
            window(&places, 4);
        }
        assert_eq!(
            (places.limit(), places.0.free.available_permits()),
            (256, 256)
        );
    }

    #[tokio::test]
    async fn places_that_are_taken_go_when_they_are_given_back() {
        let places = Places::new(64);
        let mut taken = Vec::new();
        for _ in 0..60 {
            taken.push(places.take().await);
        }
        window(&places, 32);
        assert_eq!(places.limit(), 32);
        taken.truncate(32);
        assert_eq!(places.0.free.available_permits(), 0);
        taken.clear();
        assert_eq!(places.0.free.available_permits(), 32);
    }

    proptest! {
        #[test]
        fn as_many_places_as_the_limit_are_left_when_all_are_given_back(
            most in 1_usize..200,
            steps in proptest::collection::vec((0_usize..=32, 0_usize..200), 0..20),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let places = Places::new(most);
            for (lost, taken) in steps {
                let free = places.0.free.available_permits();
                let held: Vec<Place> = runtime.block_on(async {
                    let mut held = Vec::new();
                    for _ in 0..taken.min(free) {
                        held.push(places.take().await);
                    }
                    held
                });
                window(&places, lost);
                drop(held);
                prop_assert_eq!(places.0.free.available_permits(), places.limit());
                prop_assert!((most.div_ceil(8)..=most).contains(&places.limit()));
            }
        }
    }
}
