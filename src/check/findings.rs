//! The problems that a check finds, while it runs.

use std::sync::{Mutex, PoisonError};

use crate::parallel::lock;
use crate::problem::Problem;

/// Collects problems from all threads.
#[derive(Debug, Default)]
pub struct Findings {
    problems: Mutex<Vec<Problem>>,
}

impl Findings {
    pub fn report(&self, problem: impl Into<Problem>) {
        lock(&self.problems).push(problem.into());
    }

    /// All problems in order, each once.
    pub fn into_sorted(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner().unwrap_or_else(PoisonError::into_inner);
        problems.sort();
        problems.dedup();
        problems
    }
}
