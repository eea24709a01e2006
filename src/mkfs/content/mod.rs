//! The contents of a filesystem that is made from a source.
//!
//! Threads read, compress and sum; what they make is written in the order of inodes, so that data lies in the order of
//! files and the trees' items come in the order of their keys.

mod compress;
pub(crate) mod emit;
mod estimate;
mod items;
mod names;
mod plan;
mod read;
mod transfer;

pub use compress::Method;
pub(crate) use emit::fill;
pub(crate) use estimate::{device_size, estimate};
pub use transfer::Transfer;
