//! Growing a filesystem from seeds (`btrfs_setup_sprout`, `init_first_rw_device` and `btrfs_finish_sprout` in
//! fs/btrfs/volumes.c).

use std::path::Path;

use crate::block::verify::Expected;
use crate::chunk::create;
use crate::chunk::remove;
use crate::chunk::{begin, finish, items_of_chunk, profile_of, with_system};
use crate::disk::fields::Uuid;
use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Logical};
use crate::error::{Error, Failure, PartlyPublished, Result};
use crate::image::Image;
use crate::trans::{Chunks, Filesystem, Handle};
use crate::tree::reservation::to_change_item;
use crate::tree::{Levels, TreeRoot, Walk};

use super::add::{Occupied, insert_item, join, new_item, open};

/// Grows a filesystem with a new fsid from seeds, which stay as they are, onto the image or block device at `path`, with
/// what [`super::add`] says of it. All chunks of the seeds belong to it, but for those of type SYSTEM: the chunk tree is on
/// the new device alone.
///
/// There are two commits: the first makes the filesystem, and what the seeds' SYSTEM chunks held is free after it; the
/// second is without them. An error after the first leaves a filesystem that is whole, and is
/// [`Error::PartlyPublished`]. The kernel does not mount that one, for it reads the array before it knows of seeds; to remove
/// the empty SYSTEM chunks of the seeds completes it.
///
/// # Errors
/// The seeds cannot be opened or are no seeds; the image cannot be opened or is in use, holds something, or is too
/// small.
pub fn sprout(seeds: &[impl AsRef<Path>], path: &Path, occupied: Occupied) -> Result<Filesystem> {
    let mut fs = begin_sprout(seeds, path, occupied)?;
    fs.commit()?;
    match leave_system_chunks(&mut fs) {
        Ok(()) => Ok(fs),
        Err(error) => {
            let (reached, devices) = (vec![path.to_owned()], 1);
            let failures = vec![Failure { what: "removal of the seeds' SYSTEM chunks", error }];
            Err(Error::PartlyPublished(Box::new(PartlyPublished { reached, devices, failures })))
        }
    }
}

/// Fails where [`sprout`] would before its first commit, and writes nothing. Returns the id that the new device would have.
///
/// # Errors
/// As those of [`sprout`].
pub fn check_sprout(seeds: &[impl AsRef<Path>], path: &Path, occupied: Occupied) -> Result<u64> {
    let fs = begin_sprout(seeds, path, occupied)?;
    let chunks = fs.chunks();
    Ok(chunks.rw_devices().map(|device| device.item.devid.get()).max().unwrap_or_default())
}

fn begin_sprout(seeds: &[impl AsRef<Path>], path: &Path, occupied: Occupied) -> Result<Filesystem> {
    let fs = Filesystem::open_seeds(seeds, Uuid::random())?;
    let image = open(&fs, path, occupied)?;
    // Nothing can be reserved before there is a chunk that can be written.
    let mut handle = fs.begin(0)?;
    grow(&mut handle, image)?;
    finish(handle)?;
    Ok(fs)
}

/// The second commit.
fn leave_system_chunks(fs: &mut Filesystem) -> Result<()> {
    for logical in system_chunks_of_seeds(fs) {
        let mut handle = begin(fs, items_of_chunk(fs))?;
        let removed = remove(&mut handle, logical);
        finish(handle)?;
        removed?;
    }
    fs.commit()
}

/// No chunk of the seeds can be written: the first chunks on the new device are made before any block is copied, and its
/// item is there before theirs, which the end of the handle inserts.
fn grow(handle: &mut Handle<'_>, image: Image) -> Result<()> {
    let fs = handle.fs;
    let mut chunks = fs.chunks();
    let nodesize = fs.volume().format().nodesize;
    let mut item = new_item(fs, &chunks, &image)?;
    let devid = item.devid.get();
    join(&mut chunks, image, item);
    for type_bits in [block_group::METADATA, block_group::SYSTEM] {
        let flags = BlockGroupFlags(fs.space().info(BlockGroupFlags(type_bits)).flags);
        let profile = profile_of(fs, &chunks, flags, None);
        create(handle, &mut chunks, flags.0, profile, None)?;
    }
    debug_assert!(!chunks.tree.is_changed(), "a block was copied before there was a device for it");
    item = chunks.device(devid)?.item;
    insert_item(handle, &mut chunks, &item)?;
    for device in fs.volume().devices() {
        let devid = device.devid();
        if let Some(state) = chunks.device_mut(devid) {
            state.item.generation = device.superblock().generation().0.into();
        }
        let bytes = to_change_item(nodesize);
        with_system(handle, &mut chunks, bytes, |chunks| chunks.update_device_item(fs, devid))?;
    }
    copy_chunk_tree(handle, &mut chunks)
}

/// Has all blocks of the chunk tree made anew, by asking for each of its leaves.
fn copy_chunk_tree(handle: &mut Handle<'_>, chunks: &mut Chunks) -> Result<()> {
    let fs = handle.fs;
    let bytes = to_change_item(fs.volume().format().nodesize);
    let leaves = Walk::new(fs.volume(), TreeRoot::chunk_tree(fs.volume()).expected(), Levels::Leaves);
    // The root has no key, and is copied already.
    for key in leaves.filter_map(|Expected { first_key, .. }| first_key) {
        with_system(handle, chunks, bytes, |chunks| chunks.tree.edit(fs, |editor| editor.data_mut(key).map(drop)))?;
    }
    Ok(())
}

fn system_chunks_of_seeds(fs: &Filesystem) -> Vec<Logical> {
    let space = fs.space();
    let groups = space.groups_of(BlockGroupFlags(block_group::SYSTEM)).filter(|group| !group.is_writable);
    groups.map(|group| group.logical).collect()
}
