//! Values made ahead of time, on a thread of their own.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use crate::{Error, LoaderState};

/// What a loader's thread makes, each with the state behind it.
pub(crate) struct Stream<T> {
    state: LoaderState,
    values: Option<Receiver<Result<(T, LoaderState), Error>>>,
    thread: Option<JoinHandle<()>>,
    is_over: bool,
}

impl<T> std::fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Stream<T> {
    /// Starts a thread that calls `make` until it has no more, `ahead` values before they are
    /// asked for.
    pub(crate) fn start(
        state: LoaderState,
        ahead: usize,
        mut make: impl FnMut() -> Option<Result<(T, LoaderState), Error>> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(ahead);
        let thread = std::thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || {
                while let Some(result) = make() {
                    let has_failed = result.is_err();
                    // Nobody listens any more: the loader was dropped.
                    if sender.send(result).is_err() || has_failed {
                        return;
                    }
                }
            })?;
        Ok(Self {
            state,
            values: Some(receiver),
            thread: Some(thread),
            is_over: false,
        })
    }

    /// The next value; `None` after the last. An error is final.
    pub(crate) fn next(&mut self) -> Result<Option<T>, Error> {
        if self.is_over {
            return Ok(None);
        }
        let received = self.values.as_ref().and_then(|values| values.recv().ok());
        match received {
            Some(Ok((value, state))) => {
                self.state = state;
                Ok(Some(value))
            }
            Some(Err(error)) => {
                self.is_over = true;
                Err(error)
            }
            None => {
                self.is_over = true;
                // The thread ends by itself only when there is no more.
                match self.thread.take().map(JoinHandle::join) {
                    Some(Err(_)) => Err(Error::Stopped),
                    _ => Ok(None),
                }
            }
        }
    }
}

impl<T> Stream<T> {
    /// The state behind the last value that was handed out.
    pub(crate) fn state(&self) -> LoaderState {
        self.state
    }
}

impl<T> Drop for Stream<T> {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails, and it ends.
        self.values = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported, or nobody asked for another value.
            let _ = thread.join();
        }
    }
}
