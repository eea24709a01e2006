//! Devices that come, go, are replaced and change their size, and filesystems that grow from seeds (`btrfs_init_new_device`,
//! `btrfs_rm_device`, `btrfs_grow_device` and `btrfs_shrink_device` in fs/btrfs/volumes.c).
//!
//! [`add`], [`remove`] and [`resize`] are part of a transaction, and each edit of the chunk tree begins with a reservation of
//! SYSTEM space, as those of chunks do. The lock on the device tree comes before that on [`crate::trans::Chunks`]; the thread
//! that has both changes devices alone, beside threads that allocate and remove chunks.
//!
//! [`leave`], [`replace`] and [`set_size`] move what lies on devices, in transactions of their own. A stripe that finds another
//! place goes there as it is: only the chunk tree and the device tree know of it. What finds none is relocated.

mod add;
mod copy;
mod least;
mod leave;
mod remove;
mod replace;
mod resize;
mod seed;
mod size;
mod sprout;
mod stats;
mod stripes;
mod totals;

pub use add::{Occupied, add};
pub use leave::leave;
pub use remove::{refusal, remove, remove_used};
pub use replace::replace;
pub use resize::resize;
pub use seed::set_seeding;
pub use size::{Size, set_size};
pub use sprout::{check_sprout, sprout};
pub use stats::reset_stats;
pub use stripes::Shifted;
