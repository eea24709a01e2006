//! Repairs: what they go by, what becomes of damaged filesystems, and how they are undone.

mod command;
mod copies;
mod corpus;
mod evidence;
mod random;
#[path = "../support/mod.rs"]
mod support;
mod undo;
