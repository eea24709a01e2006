//! Making what lies on a device as short as it can be: chunks that are not full are rewritten into others that are no larger
//! than they have to be, and then all of it moves towards the beginning.

use crate::chunk::placement::Placement;
use crate::chunk::{RemoveChoice, alloc_at, begin_to_free, finish, items_of_chunk, remove_batch};
use crate::disk::flags::block_group::{DATA, METADATA, SYSTEM};
use crate::disk::{BlockGroupFlags, Logical, Physical, Profile, STRIPE_LEN};
use crate::error::{Error, Result};
use crate::relocate::{Evacuation, Options, Rules, data_between, relocate_by, without_place};
use crate::space::Holes;
use crate::trans::Filesystem;
use crate::tree::reservation::{to_change_chunk, to_write_files};
use crate::volume::ChunkMapping;

use super::stripes::{Shifted, find_lower_places, is_on_one_device, shift};

const MIB: u64 = 1 << 20;
/// Bytes of data that stay free in each chunk: the kernel wants a block for each file that is written.
const DATA_LEFT: u64 = MIB;
/// Rewriting a chunk has to give back so much.
const GAIN: u64 = MIB;
/// A chunk of data is no longer than the kernel makes a stripe.
const MAX_DATA: u64 = 1 << 30;

/// Chunks that are to be rewritten into one.
struct Rewrite {
    sources: Vec<Logical>,
    flags: BlockGroupFlags,
    profile: Profile,
    /// The new chunks; none for the free space of others.
    places: Vec<Placement>,
}

/// Packs what lies on a device, in several commits. Chunks on several devices stay as long as they are. The order of all steps
/// follows from the filesystem alone: a rehearsal comes to the same end.
///
/// # Errors
/// As those of [`relocate_by`] and [`shift`]; [`Error::Interrupted`].
pub fn pack(mut fs: Filesystem, devid: u64, options: &Options<'_>, shifted: &mut Shifted) -> Result<Filesystem> {
    for type_bits in [DATA, METADATA, SYSTEM] {
        for profile in [Profile::Single, Profile::Dup] {
            let mut allocated = u64::MAX;
            while let Some(rewrite) = find_rewrite(&fs, devid, type_bits, profile) {
                let before = std::mem::replace(&mut allocated, fs.chunks().device(devid)?.item.bytes_used.get());
                // The trees have taken what it gave back.
                if allocated >= before {
                    break;
                }
                fs = run(fs, &rewrite, options, shifted)?;
            }
        }
    }
    let unused = RemoveChoice::Unused { type_bits: u64::MAX };
    let removed = remove_batch(&fs, &unused, |_| {})?;
    if !removed.is_empty() {
        fs.commit()?;
        shifted.moved.transactions += 1;
        shifted.moved.chunks_removed.extend(removed);
    }
    let mut end = u64::MAX;
    loop {
        fs = lower(fs, devid, options, shifted)?;
        let before = std::mem::replace(&mut end, end_of(&fs, devid)?);
        match find_split(&fs, devid)? {
            Some(rewrite) if end < before => fs = run(fs, &rewrite, options, shifted)?,
            _ => return Ok(fs),
        }
    }
}

/// Moves all towards the beginning of a device, as it is.
fn lower(mut fs: Filesystem, devid: u64, options: &Options<'_>, shifted: &mut Shifted) -> Result<Filesystem> {
    loop {
        let moves = find_lower_places(&fs, devid)?;
        if moves.is_empty() {
            return Ok(fs);
        }
        fs = shift(fs, &moves, options, shifted)?;
    }
}

fn end_of(fs: &Filesystem, devid: u64) -> Result<u64> {
    let chunks = fs.chunks();
    let device = chunks.device(devid)?;
    Ok(device.holes.end_of_taken(device.item.total_bytes.get()))
}

fn run(mut fs: Filesystem, rewrite: &Rewrite, options: &Options<'_>, shifted: &mut Shifted) -> Result<Filesystem> {
    let mut into = Vec::new();
    for place in &rewrite.places {
        let mut handle = begin_to_free(&fs, items_of_chunk(&fs))?;
        let made = alloc_at(&mut handle, rewrite.flags, rewrite.profile, place);
        finish(handle)?;
        into.push(made?);
    }
    if !into.is_empty() {
        fs.commit()?;
        shifted.moved.transactions += 1;
        shifted
            .moved
            .chunks_made
            .extend(into.iter().filter_map(|logical| fs.volume().chunks().find(*logical).cloned()));
    }
    let evacuation = |start: &Logical| Evacuation { start: *start, into: rewrite.profile };
    let evacuations: Vec<Evacuation> = rewrite.sources.iter().map(evacuation).collect();
    let rules = Rules { into: &into, last_goes: true };
    fs = relocate_by(fs, &evacuations, rules, options, &mut shifted.moved)?;
    if shifted.moved.left.is_empty() { Ok(fs) } else { Err(Error::Interrupted) }
}

/// What is rewritten next of a type and profile: as many of the emptiest chunks as there is a place for, or of trees all of
/// them.
fn find_rewrite(fs: &Filesystem, devid: u64, type_bits: u64, profile: Profile) -> Option<Rewrite> {
    let chunks = fs.chunks();
    let space = fs.space();
    let holes = &chunks.device(devid).ok()?.holes;
    let flags = BlockGroupFlags(space.info(BlockGroupFlags(type_bits)).flags | profile.geometry().bit);
    // Of mixed block groups once.
    if flags.type_bits() & (type_bits - 1) & (DATA | METADATA) != 0 {
        return None;
    }
    let is_candidate = |chunk: &&ChunkMapping| {
        let is_here = chunk.stripes.iter().any(|stripe| stripe.devid == devid);
        chunk.flags == flags && is_here && is_on_one_device(chunk)
    };
    let candidates = chunks.map.iter().filter(is_candidate);
    let used_of = |chunk: &ChunkMapping| Some((space.group(chunk.logical)?.used, chunk.logical, chunk.length));
    let is_data = flags.type_bits() == DATA;
    let mut candidates: Vec<(u64, Logical, u64)> = candidates.filter_map(used_of).collect();
    candidates.sort_unstable();
    let free = candidates.iter().map(|(used, _, length)| length.saturating_sub(*used)).fold(0, u64::saturating_add);
    let nodesize = fs.volume().format().nodesize;
    let left = match flags.type_bits() {
        DATA => DATA_LEFT,
        SYSTEM => 2 * to_change_chunk(nodesize, profile, 1),
        of_trees => {
            let data = if of_trees & DATA != 0 { DATA_LEFT } else { 0 };
            data + to_write_files(nodesize, space.info(flags).global_rsv())
        }
    };
    // The kernel could not write.
    let is_too_little = free < left && flags.type_bits() != SYSTEM;
    if is_data && !is_too_little {
        candidates.retain(|(used, _, length)| length.saturating_sub(*used) >= DATA_LEFT + GAIN);
    }
    let fewest = if is_data { 1 } else { candidates.len() };
    let most = if is_too_little { fewest.min(candidates.len()) } else { candidates.len() };
    for count in (fewest..=most).rev().filter(|count| *count > 0) {
        let (sources, used, length) = sum(&candidates[..count]);
        // Trees may be a little larger afterwards.
        let more = if is_data { 0 } else { used / 16 + 16 * u64::from(nodesize) };
        let size = used.checked_add(left + more)?.checked_next_multiple_of(STRIPE_LEN)?;
        let is_short_enough = !is_data || size <= MAX_DATA || count == 1;
        let is_worth = is_too_little || is_short_enough && length.saturating_sub(size) >= GAIN;
        if let Some(place) = is_worth.then(|| place(holes, devid, size, profile)).flatten() {
            return Some(Rewrite { sources, flags, profile, places: vec![place] });
        }
    }
    let (sources, used, _) = sum(candidates.get(..1).filter(|_| is_data)?);
    let others = candidates[1..].iter().map(|(used, _, length)| length.saturating_sub(*used));
    (used <= others.sum()).then_some(Rewrite { sources, flags, profile, places: Vec::new() })
}

fn sum(chunks: &[(u64, Logical, u64)]) -> (Vec<Logical>, u64, u64) {
    let add = |(used, length): (u64, u64), (of_one, _, bytes): &(u64, Logical, u64)| {
        (used.saturating_add(*of_one), length.saturating_add(*bytes))
    };
    let (used, length) = chunks.iter().fold((0, 0), add);
    (chunks.iter().map(|(_, logical, _)| *logical).collect(), used, length)
}

/// The lowest places for the stripes of a chunk.
fn place(holes: &Holes, devid: u64, size: u64, profile: Profile) -> Option<Placement> {
    let mut holes = holes.clone();
    let mut stripes: Vec<(u64, Physical)> = Vec::new();
    for _ in 0..profile.geometry().dev_stripes {
        let physical = holes.find_apart(size)?;
        holes.take(physical, size);
        stripes.push((devid, physical));
    }
    Some(Placement { length: size, stripe_size: size, stripes })
}

/// The last chunk of a device, if it is one of data, and the largest hole before it is too short for it: into one that fills the
/// hole, and another one for the rest, which finds a place closer to the beginning then.
fn find_split(fs: &Filesystem, devid: u64) -> Result<Option<Rewrite>> {
    let chunks = fs.chunks();
    let start_of = |chunk: &ChunkMapping| {
        chunk.stripes.iter().filter(|stripe| stripe.devid == devid).map(|stripe| stripe.physical).max()
    };
    let Some(last) = chunks.map.iter().max_by_key(|chunk| start_of(chunk)) else { return Ok(None) };
    let (flags, profile) = (last.flags, last.profile);
    let Some(from) = start_of(last).filter(|_| flags.type_bits() == DATA && profile == Profile::Single) else {
        return Ok(None);
    };
    let mut holes = chunks.device(devid)?.holes.clone();
    let before = holes.apart().filter(|(start, _)| *start < from.0);
    let Some((start, end)) = before.max_by_key(|(start, end)| end - start) else { return Ok(None) };
    let first = (end - start) / STRIPE_LEN * STRIPE_LEN;
    let extents = data_between(fs.volume(), last.logical, last.end())?;
    let sectorsize = fs.volume().format().sectorsize;
    let (mut rest, mut missing) = (DATA_LEFT, without_place(&extents, &[first], sectorsize));
    while missing > 0 {
        rest = rest.saturating_add(missing).checked_next_multiple_of(STRIPE_LEN).ok_or(Error::TooMuch)?;
        missing = without_place(&extents, &[first, rest], sectorsize);
    }
    if rest.saturating_add(GAIN) > last.length {
        return Ok(None);
    }
    holes.take(Physical(start), first);
    let first = Placement { length: first, stripe_size: first, stripes: vec![(devid, Physical(start))] };
    let second = place(&holes, devid, rest, profile);
    let rewrite = |second| Rewrite { sources: vec![last.logical], flags, profile, places: vec![first, second] };
    Ok(second.map(rewrite))
}
