//! The on-disk format, declared once.
//!
//! Structs are byte-exact and little-endian, fields carry their kernel names (`uapi/linux/btrfs_tree.h`, Linux 6.18),
//! sizes are asserted, and a blank line stands each 16 bytes so that a declaration can be laid beside a hexdump.
//! Raw integers stay raw: what has a meaning (keys, flags, addresses) is converted where it is used, and values that
//! are not known are kept.

pub mod address;
mod block_group;
pub mod csum;
pub mod extent;
pub mod fields;
pub mod flags;
pub mod hash;
pub mod inode;
pub mod key;

pub mod node;
pub mod objectid;
pub mod profile;
pub mod quota;
pub mod reference;
pub mod root;
pub mod space;
pub mod superblock;
pub mod volume;

pub use address::{Ino, Logical, Physical, Transid, TreeId};
pub use block_group::BlockGroupFlags;
pub use csum::CsumType;
pub use key::{DiskKey, Key, KeyType};
pub use profile::Profile;
pub use superblock::Superblock;

/// A tree has at most this many levels, leaves included (`BTRFS_MAX_LEVEL`).
pub const MAX_LEVEL: usize = 8;
/// Longest name of a file, a directory entry or an extended attribute, in bytes.
pub const NAME_LEN: usize = 255;
/// Data and metadata of a striped chunk change device each so many bytes.
pub const STRIPE_LEN: u64 = 64 * 1024;
/// Bytes of the smallest block of data.
pub const MIN_SECTORSIZE: u32 = 4096;
/// Bytes of the largest block of data.
pub const MAX_SECTORSIZE: u32 = 65536;
/// Bytes of the smallest tree block.
pub const MIN_NODESIZE: u32 = 4096;
/// Bytes of the largest tree block.
pub const MAX_NODESIZE: u32 = 65536;
