//! What every part of a check works with.

use crate::progress::Progress;
use crate::volume::Volume;

use super::findings::Findings;

/// A check that is running.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    pub volume: &'a Volume,
    pub threads: usize,
    pub progress: &'a Progress,
    pub findings: &'a Findings,
}
