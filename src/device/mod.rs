//! Devices that come, go and change their size, and filesystems that grow from seeds (`btrfs_init_new_device`,
//! `btrfs_rm_device`, `btrfs_grow_device` and `btrfs_shrink_device` in fs/btrfs/volumes.c).
//!
//! All of it is part of a transaction, and each edit of the chunk tree begins with a reservation of SYSTEM space, as those of
//! chunks do. The lock on the device tree comes before that on [`crate::trans::Chunks`]; the thread that has both changes
//! devices alone, beside threads that allocate and remove chunks.

mod add;
mod remove;
mod resize;
mod sprout;
mod totals;

pub use add::{Occupied, add};
pub use remove::{refusal, remove};
pub use resize::resize;
pub use sprout::sprout;
