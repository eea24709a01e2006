//! What every part of a survey works with.

use crate::progress::Progress;
use crate::tree::Scan;
use crate::volume::Volume;

/// A survey that is running, or one that is asked again.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The filesystem.
    pub volume: &'a Volume,
    /// How many threads work.
    pub threads: usize,
    /// Told of the work, and able to stop it.
    pub progress: &'a Progress,
}

impl<'a> Job<'a> {
    /// A scan that has not read anything.
    pub fn scan(&self) -> Scan<'a> {
        Scan::new(self.volume, self.threads, self.progress)
    }
}
