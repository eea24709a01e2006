//! The locks of a transaction, which many threads take part in, and their order.
//!
//! Each lock has a [`Rank`]. A thread takes locks in ascending order of their ranks, so that no two threads ever wait for each
//! other; builds with debug assertions panic where a thread does not, whether or not another thread was about to wait.
//!
//! In the unit tests of this crate locks and flags are those of `shuttle`, whose scheduler decides at each of them which thread
//! goes on: a transaction lives under it alone there.

#[cfg(not(test))]
use std::{sync, thread_local};

#[cfg(test)]
use shuttle::{sync, thread_local};

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

pub use sync::Condvar;
pub use sync::atomic::AtomicBool;

/// The place of a lock in the order in which a thread may take locks: by the first number, then by the second. Of locks with
/// the same rank a thread holds one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(pub u8, pub u64);

thread_local! {
    /// The ranks of the locks that this thread holds, in the order in which it took them.
    static HELD: RefCell<Vec<Rank>> = RefCell::default();
}

/// A value behind a lock that has a rank.
#[derive(Debug)]
pub struct Mutex<T> {
    rank: Rank,
    inner: sync::Mutex<T>,
}

impl<T> Mutex<T> {
    /// A mutex of this rank.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self { rank, inner: sync::Mutex::new(value) }
    }

    /// Waits for the lock. A thread that panicked with the lock held leaves to others what it had done: the panic ends the
    /// whole run.
    ///
    /// # Panics
    /// With debug assertions, if the calling thread holds a lock of this rank or of a higher one.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let held = Held::new(self.rank);
        MutexGuard { guard: self.inner.lock().unwrap_or_else(PoisonError::into_inner), held }
    }

    /// The value: the caller has the mutex to itself.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lock that is held.
#[derive(Debug)]
pub struct MutexGuard<'m, T> {
    guard: sync::MutexGuard<'m, T>,
    held: Held,
}

impl<T> MutexGuard<'_, T> {
    /// Sleeps, without the lock, until `condition` no longer holds.
    #[must_use]
    pub fn wait_while(self, condvar: &Condvar, condition: impl FnMut(&mut T) -> bool) -> Self {
        let Self { guard, held } = self;
        Self { guard: condvar.wait_while(guard, condition).unwrap_or_else(PoisonError::into_inner), held }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// Stands for a lock in the list of those that the thread holds.
#[derive(Debug)]
struct Held(Rank);

impl Held {
    fn new(rank: Rank) -> Self {
        if cfg!(debug_assertions) {
            HELD.with(|held| {
                let mut held = held.borrow_mut();
                let highest = held.iter().max();
                assert!(highest.is_none_or(|highest| *highest < rank), "lock order: {rank:?} after {held:?}");
                held.push(rank);
            });
        }
        Self(rank)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            HELD.with(|held| {
                let mut held = held.borrow_mut();
                let place = held.iter().rposition(|rank| *rank == self.0);
                place.map(|place| held.remove(place));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(first: u8, second: u8) {
        shuttle::check_random(
            move || {
                let (first, second) = (Mutex::new(Rank(first, 0), ()), Mutex::new(Rank(second, 0), ()));
                let _first = first.lock();
                let _second = second.lock();
            },
            1,
        );
    }

    #[test]
    fn locks_are_taken_in_their_order() {
        take(1, 2);
    }

    #[test]
    #[should_panic(expected = "lock order")]
    fn an_inner_lock_is_not_held_while_an_outer_one_is_taken() {
        take(2, 1);
    }

    #[test]
    #[should_panic(expected = "lock order")]
    fn two_locks_of_one_rank_are_not_held_together() {
        take(1, 1);
    }
}
