//! The locks and flags of a transaction, which many threads take part in.
//!
//! In the unit tests of this crate they are those of `shuttle`, whose scheduler decides at each of them which thread goes on:
//! a transaction lives under it alone there.

#[cfg(not(test))]
pub use std::{
    sync::atomic::AtomicBool,
    sync::{Condvar, Mutex, MutexGuard},
};

#[cfg(test)]
pub use shuttle::{
    sync::atomic::AtomicBool,
    sync::{Condvar, Mutex, MutexGuard},
};

use std::sync::PoisonError;

/// Locks. A thread that panicked with the lock held leaves to others what it had done: the panic ends the whole run.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
