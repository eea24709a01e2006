//! What the superblock and the device tree count of a device.

use crate::disk::{Key, KeyType, objectid};
use crate::error::{Error, Result};
use crate::trans::{Chunks, Filesystem, StagedTree};

/// The superblock counts one device more or less, and other bytes.
pub fn update_totals(chunks: &mut Chunks, devices: i64, old_size: u64, new_size: u64) {
    let superblock = &mut chunks.superblock;
    superblock.num_devices = superblock.num_devices.get().saturating_add_signed(devices).into();
    let others = superblock.total_bytes.get().saturating_sub(old_size);
    superblock.total_bytes = others.saturating_add(new_size).into();
}

/// Fails where the devices would have more bytes together than the superblock can say.
pub fn check_total(chunks: &Chunks, old_size: u64, new_size: u64) -> Result<()> {
    let others = chunks.superblock.total_bytes.get().saturating_sub(old_size);
    others.checked_add(new_size).map(drop).ok_or(Error::TooMuch)
}

/// Forgets the errors that were counted on a device: another device with its id has none of them.
pub fn delete_stats(fs: &Filesystem, device_tree: &mut StagedTree, devid: u64) -> Result<()> {
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
