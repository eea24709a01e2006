//! Work on all threads, up to the first error.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::parallel::{lock, on_threads};

/// Hands `items` to `work`, `size` at a time, on all threads. After an error no more is begun.
///
/// # Errors
/// The first error of `work`.
pub fn in_portions<T: Sync>(
    threads: usize,
    items: &[T],
    size: usize,
    work: impl Fn(&[T]) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let worker = || {
        loop {
            let first = next.fetch_add(size, Ordering::Relaxed);
            let Some(rest) = items.get(first..).filter(|rest| !rest.is_empty()) else { return };
            if lock(&failed).is_some() {
                return;
            }
            if let Err(error) = work(&rest[..rest.len().min(size)]) {
                lock(&failed).get_or_insert(error);
            }
        }
    };
    on_threads(threads, worker);
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
