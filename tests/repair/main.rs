//! Repairs, and how they are undone.

#[path = "../support/mod.rs"]
mod support;
mod undo;
