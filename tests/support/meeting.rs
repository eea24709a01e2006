//! A place where threads wait for each other. Unlike [`std::sync::Barrier`] it ends when one of them panics: the others
//! panic too, instead of waiting for what does not come.

use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Default)]
struct State {
    arrived: usize,
    is_abandoned: bool,
}

/// One meeting of so many threads.
pub struct Meeting {
    threads: usize,
    state: Mutex<State>,
    changed: Condvar,
}

/// A thread that is expected.
pub struct Expected<'m>(&'m Meeting);

impl Meeting {
    pub fn new(threads: usize) -> Self {
        Self { threads, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Each thread calls this first: from here on its panic is known to the others.
    pub fn expect(&self) -> Expected<'_> {
        Expected(self)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

impl Expected<'_> {
    /// Returns when all threads are here.
    pub fn wait(&self) {
        let meeting = self.0;
        meeting.change(|state| state.arrived += 1);
        let state = meeting.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut State| state.arrived < meeting.threads && !state.is_abandoned;
        let state = meeting.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        let is_abandoned = state.is_abandoned;
        drop(state);
        assert!(!is_abandoned, "another thread panicked");
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.change(|state| state.is_abandoned = true);
        }
    }
}
