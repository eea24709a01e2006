//! Balance: which block groups are emptied, in which order and into which profile. [`crate::relocate`] moves what is in them.

mod choice;
mod filters;
mod parse;
mod plan;
mod request;
mod room;
mod run;
#[cfg(test)]
mod tests;

pub use choice::{Chosen, choose};
pub use filters::{Filters, HalfOpen, Inclusive, Limit, Usage};
pub use plan::Plan;
pub use request::Balance;
pub use run::{end_paused, run};
