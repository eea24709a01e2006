//! The offline btrfs toolkit. See `ARCHITECTURE.md` for the floors of the house: imports only go down.

#![deny(unsafe_code)]

pub mod block;
pub mod check;
pub mod chunk;
#[cfg(feature = "cli")]
pub mod cli;
pub mod device;
pub mod disk;
pub mod dump;
pub mod error;
pub mod files;
pub mod finding;
pub mod image;
mod mix;
pub mod mkfs;
pub mod parallel;
pub mod problem;
pub mod progress;
pub mod rebuild;
pub mod space;
pub mod survey;
pub mod sync;
pub mod table;
pub mod trans;
pub mod tree;
pub mod volume;

// Fixtures of the integration tests name the crate so.
#[cfg(test)]
extern crate self as rbtrfs;

pub use error::{Error, Result};
