//! The errors that were counted on devices (`btrfs_run_dev_stats` in fs/btrfs/volumes.c).

use crate::chunk::{begin, finish};
use crate::disk::{Key, KeyType, objectid};
use crate::error::Result;
use crate::trans::Filesystem;

/// Sets all counts of a device to zero. Where nothing was counted there is nothing to do.
///
/// # Errors
/// The device tree cannot be changed.
pub fn reset_stats(fs: &Filesystem, devid: u64) -> Result<()> {
    let key = Key::new(objectid::DEV_STATS, KeyType::PERSISTENT_ITEM, devid);
    let handle = begin(fs, 1)?;
    let reset = {
        let mut device_tree = fs.device_tree();
        match device_tree.find(fs, key)? {
            Some(counts) if counts.iter().any(|byte| *byte != 0) => device_tree.edit(fs, |editor| {
                editor.data_mut(key)?.fill(0);
                Ok(())
            }),
            _ => Ok(()),
        }
    };
    finish(handle)?;
    reset
}
