//! What manuals and recipes tell a person to type does what they say.

mod blocks;
mod book;
mod manuals;
mod packages;
mod rescue;
#[path = "../support/mod.rs"]
mod support;
