//! Devices that come, go and change their size, and filesystems that grow from seeds (`btrfs_init_new_device`,
//! `btrfs_rm_device`, `btrfs_grow_device` and `btrfs_shrink_device` in fs/btrfs/volumes.c).
//!
//! All of it is part of a transaction, and each edit of the chunk tree begins with its promise of system space, as those of
//! chunks do. The lock on the device tree comes before that on [`Chunks`]; the thread that has both changes devices alone,
//! beside threads that allocate and remove chunks.

mod add;
mod remove;
mod resize;
mod sprout;

use crate::disk::{Key, KeyType, objectid};
use crate::error::{Error, Result};
use crate::trans::{Chunks, Filesystem, StagedTree};

pub use add::{Occupied, add};
pub use remove::{refusal, remove};
pub use resize::resize;
pub use sprout::sprout;

/// The superblock counts one device more or less, and other bytes.
fn update_totals(chunks: &mut Chunks, devices: i64, old_size: u64, new_size: u64) {
    let superblock = &mut chunks.superblock;
    superblock.num_devices = superblock.num_devices.get().saturating_add_signed(devices).into();
    let others = superblock.total_bytes.get().saturating_sub(old_size);
    superblock.total_bytes = others.saturating_add(new_size).into();
}

/// Fails where the devices would have more bytes together than the superblock can say.
fn check_total(chunks: &Chunks, old_size: u64, new_size: u64) -> Result<()> {
    let others = chunks.superblock.total_bytes.get().saturating_sub(old_size);
    others.checked_add(new_size).map(drop).ok_or(Error::TooMuch)
}

/// Forgets the errors that were counted on a device: another device with its id has none of them.
fn delete_stats(fs: &Filesystem, device_tree: &mut StagedTree, devid: u64) -> Result<()> {
    let key = Key::new(objectid::DEV_STATS, KeyType::PERSISTENT_ITEM, devid);
    if device_tree.find(fs, key)?.is_none() {
        return Ok(());
    }
    let deleted = device_tree.edit(fs, |editor| editor.delete(key));
    if deleted.is_err() {
        fs.poison();
    }
    deleted
}
