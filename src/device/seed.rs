//! Filesystems that others grow from, and that do not change any more (`btrfstune -S`).

use std::path::Path;

use crate::error::Result;
use crate::trans::Filesystem;
use crate::volume::{MissingDevices, Seeding, WritableVolume};

/// Makes the filesystem of these images a seed or none, in their superblocks alone. Returns whether that changes anything.
///
/// # Errors
/// As those of [`Filesystem::open`] and of [`WritableVolume::set_seeding`].
pub fn set_seeding(paths: &[impl AsRef<Path>], seeding: Seeding, is_dry_run: bool) -> Result<bool> {
    let mut opened = WritableVolume::open_to_seed(paths)?;
    if opened.seeding() == seeding {
        return Ok(false);
    }
    if seeding == Seeding::On {
        // Nothing is to be done to it later: what a change would refuse is refused now.
        drop(opened);
        drop(Filesystem::open(paths, MissingDevices::Refuse)?);
        opened = WritableVolume::open_to_seed(paths)?;
    }
    if !is_dry_run {
        opened.set_seeding(seeding)?;
    }
    Ok(true)
}
