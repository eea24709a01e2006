//! Room for a batch: chunks are made before anything moves, in a transaction of their own, and emptied ones removed.

use crate::chunk::{
    AllocRequest, Force, RemoveChoice, alloc, begin_to_alloc, finish, is_lack_of_space, items_of_chunk, refusal,
    remove_batch,
};
use crate::disk::flags::block_group;
use crate::disk::volume::DevItem;
use crate::disk::{BlockGroupFlags, Logical, MAX_LEVEL, Profile};
use crate::error::{Error, Result};
use crate::trans::Filesystem;

use super::batch::Batch;

const MIB: u64 = 1 << 20;
/// Bytes of a chunk at the least where it is made no larger than it has to be.
const SMALL: u64 = 16 * MIB;

/// Makes a chunk that is wanted for so many bytes. Returns whether there was room for it.
///
/// # Errors
/// Those of [`alloc`], but for a lack of space that has changed nothing.
pub fn make_chunk(fs: &Filesystem, type_bits: u64, profile: Option<Profile>, wanted: u64) -> Result<bool> {
    let size = is_scarce(fs).then(|| wanted.saturating_mul(2).max(SMALL));
    let request = AllocRequest { type_bits, profile, size, force: Force::Force };
    request.check(fs)?;
    let is_space = |error: &Error| is_lack_of_space(error) && !fs.is_poisoned();
    let mut handle = match begin_to_alloc(fs, &request, items_of_chunk(fs)) {
        Err(error) if is_space(&error) => return Ok(false),
        begun => begun?,
    };
    let allocated = alloc(&mut handle, &request);
    finish(handle)?;
    match allocated {
        Err(error) if is_space(&error) => Ok(false),
        allocated => allocated.map(|_| true),
    }
}

/// Whether a device has room for a few chunks at the most: then none is made larger than it has to be, so that there is room for
/// chunks of the other types.
fn is_scarce(fs: &Filesystem) -> bool {
    let chunks = fs.chunks();
    let sizes = chunks.rw_devices().map(|device| device.item.total_bytes.get());
    let large = (sizes.fold(0, u64::saturating_add) / 10).min(1024 * MIB);
    let left = |item: &DevItem| item.total_bytes.get().saturating_sub(item.bytes_used.get());
    chunks.rw_devices().any(|device| left(&device.item) < 4 * large)
}

/// Blocks that have room in the free ranges of block groups of a type and profile.
///
/// # Errors
/// The free space of a block group cannot be read.
pub fn free_blocks(fs: &Filesystem, flags: BlockGroupFlags, profile: Profile) -> Result<u64> {
    let nodesize = u64::from(fs.volume().format().nodesize);
    let blocks = |(start, length): (Logical, u64)| {
        let first = start.0.next_multiple_of(nodesize);
        (start.0 + length).saturating_sub(first) / nodesize
    };
    Ok(fs.free_ranges(flags, profile)?.into_iter().map(blocks).sum())
}

/// Tree blocks that a batch with so many of them may need: those, the nodes above them, and what describes them.
pub fn wanted_blocks(blocks: u64) -> u64 {
    match blocks {
        0 => 0,
        _ => blocks + blocks / 8 + 64,
    }
}

/// Bytes of a batch that have no room.
fn missing(fs: &Filesystem, batch: &Batch) -> Result<u64> {
    let Batch { flags, profile, .. } = *batch;
    let wanted = match flags.contains(block_group::SYSTEM) {
        true => batch.blocks + MAX_LEVEL as u64,
        false => wanted_blocks(batch.blocks),
    };
    let free = if wanted > 0 { free_blocks(fs, flags, profile)? } else { 0 };
    let nodesize = u64::from(fs.volume().format().nodesize);
    let (_, data) = batch.place(fs)?;
    Ok(data.saturating_add(wanted.saturating_sub(free).saturating_mul(nodesize)))
}

/// Makes chunks until all of a batch has room, or until there is no more to be had.
///
/// # Errors
/// Those of [`make_chunk`].
pub fn make_room(fs: &Filesystem, batch: &Batch) -> Result<()> {
    let type_bits = batch.flags.type_bits();
    let mut lacking = missing(fs, batch)?;
    while lacking > 0 && make_chunk(fs, type_bits, Some(batch.profile), lacking)? {
        let before = std::mem::replace(&mut lacking, missing(fs, batch)?);
        // What is longer than any chunk has no room in more of them.
        if lacking >= before {
            break;
        }
    }
    Ok(())
}

/// What became of an empty block group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emptied {
    Removed,
    /// It is the last of its type, and as it should be.
    Stays,
    /// Without it there would be too little space, before the next commit at least.
    Waits,
}

/// Whether the last block group of its type stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// Once all others that are to go are gone.
    Stays,
    /// Others are yet to go.
    Waits,
    /// It goes after another one was made.
    Goes,
}

/// Removes an empty block group after chunks of a profile have taken its place.
///
/// # Errors
/// Its items disagree, and the trees cannot be changed.
pub fn remove_emptied(fs: &Filesystem, logical: Logical, into: Profile, last: Last) -> Result<Emptied> {
    let Some(flags) = fs.space().group(logical).map(|group| group.flags) else {
        return Err(Error::NoChunk { logical });
    };
    let type_bits = flags.type_bits();
    for is_retry in [false, true] {
        fs.space().set_read_write(logical);
        let refused = refusal(fs, logical);
        // Until it is gone nothing comes into it.
        let close = || fs.space().set_read_only(logical);
        match refused {
            None => match remove_batch(fs, &RemoveChoice::Chunks(vec![logical]), |_| {}) {
                Ok(_) => return Ok(Emptied::Removed),
                // Or what was allocated for the removal itself has come to lie in it.
                Err(Error::NoSpace { .. } | Error::SysChunkArrayFull { .. } | Error::ChunkInUse { .. })
                    if !fs.is_poisoned() =>
                {
                    close();
                    return Ok(Emptied::Waits);
                }
                Err(error) => return Err(error),
            },
            Some(Error::LastChunk { .. }) if flags.profile() == Some(into) && last != Last::Goes => {
                close();
                return Ok(if last == Last::Stays { Emptied::Stays } else { Emptied::Waits });
            }
            Some(Error::LastChunk { .. } | Error::NoSpace { .. }) if !is_retry => {
                close();
                if !make_chunk(fs, type_bits, Some(into), 0)? {
                    return Ok(Emptied::Waits);
                }
            }
            Some(Error::LastChunk { .. } | Error::NoSpace { .. }) => {
                close();
                return Ok(Emptied::Waits);
            }
            Some(error) => return Err(error),
        }
    }
    Ok(Emptied::Waits)
}
