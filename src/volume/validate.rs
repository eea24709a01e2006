//! What a superblock must say before it may be written: what the kernel asks of one that it mounts or writes
//! (fs/btrfs/disk-io.c, `btrfs_validate_super`), and that it hangs together with the chunks.

use crate::block::item::{Rules, check_chunk};
use crate::block::verify::Format;
use crate::disk::flags::{FlagNames, block_group, compat, compat_ro, incompat, superblock as flags};
use crate::disk::superblock::MAGIC;
use crate::disk::{Logical, Physical, Superblock, flags::all, objectid};

use super::chunk_map::{ChunkMap, ChunkMapping};
use super::superblock;
use super::sys_chunk_array::Entries;

/// Nodes of the smallest filesystem: the roots of its trees.
const LEAST_NODES: u64 = 6;
/// A conversion of the whole filesystem leaves its flag behind if it is interrupted; the kernel mounts no such filesystem.
const MOUNTABLE_FLAGS: u64 =
    flags::WRITTEN | flags::RELOC | flags::ERROR | flags::SEEDING | flags::METADUMP | flags::METADUMP_V2;

/// What blocks look like, or the first thing that is wrong with a superblock that is to stand at `offset`, but for its
/// checksum.
///
/// # Errors
/// What is wrong with the superblock, as a phrase.
pub fn validate(superblock: &Superblock, offset: Physical, chunks: &ChunkMap) -> Result<Format, String> {
    let invalid = |field: &str, have: u64, expect: &dyn std::fmt::Display| {
        Err(format!("invalid {field}, have {have} expect {expect}"))
    };
    if superblock.magic.get() != MAGIC {
        return invalid("magic", superblock.magic.get(), &MAGIC);
    }
    let format = superblock::format(superblock, vec![superblock.metadata_fsid()])?;
    known("flags", superblock.flags.get(), MOUNTABLE_FLAGS)?;
    for (field, bits, names) in [
        ("compat_flags", superblock.compat_flags.get(), compat::NAMES as FlagNames),
        ("compat_ro_flags", superblock.compat_ro_flags.get(), compat_ro::NAMES),
        ("incompat_flags", superblock.incompat_flags.get(), incompat::NAMES),
    ] {
        known(field, bits, all(names))?;
    }
    let nodesize = u64::from(format.nodesize);
    if superblock.__unused_leafsize.get() != format.nodesize {
        return invalid("leafsize", superblock.__unused_leafsize.get().into(), &nodesize);
    }
    if !superblock.stripesize.get().is_power_of_two() {
        return invalid("stripesize", superblock.stripesize.get().into(), &"a power of two");
    }
    if usize::from(superblock.log_root_level) >= crate::disk::MAX_LEVEL {
        return invalid("log_root_level", superblock.log_root_level.into(), &"less than 8");
    }
    for (field, root) in
        [("root", superblock.root()), ("chunk_root", superblock.chunk_root()), ("log_root", superblock.log_root.into())]
    {
        if !root.is_aligned(format.sectorsize) {
            return invalid(field, root.0, &format_args!("a multiple of {}", format.sectorsize));
        }
    }
    if superblock.dev_item.fsid != superblock.metadata_fsid() {
        let (have, expect) = (superblock.dev_item.fsid, superblock.metadata_fsid());
        return Err(format!("invalid dev_item.fsid, have {have} expect {expect}"));
    }
    if superblock.has_compat_ro(compat_ro::BLOCK_GROUP_TREE)
        && !(superblock.has_compat_ro(compat_ro::FREE_SPACE_TREE_VALID) && superblock.has_incompat(incompat::NO_HOLES))
    {
        return Err("BLOCK_GROUP_TREE is set without FREE_SPACE_TREE_VALID and NO_HOLES".to_owned());
    }
    if superblock.bytes_used.get() < LEAST_NODES * nodesize {
        return invalid(
            "bytes_used",
            superblock.bytes_used.get(),
            &format_args!("at least {}", LEAST_NODES * nodesize),
        );
    }
    if superblock.num_devices.get() == 0 {
        return invalid("num_devices", 0, &"at least 1");
    }
    if superblock.bytenr.get() != offset.0 {
        return invalid("bytenr", superblock.bytenr.get(), &offset);
    }
    if superblock.chunk_root_generation > superblock.generation {
        let expect = format_args!("at most {}", superblock.generation());
        return invalid("chunk_root_generation", superblock.chunk_root_generation.get(), &expect);
    }
    validate_array(superblock, &Rules::new(&format, superblock), chunks)?;
    Ok(format)
}

fn known(field: &str, bits: u64, known: u64) -> Result<(), String> {
    match bits & !known {
        0 => Ok(()),
        unknown => Err(format!("invalid {field}, have {bits:#x} of which {unknown:#x} may not be set")),
    }
}

/// The array holds the SYSTEM chunks, all of them and nothing else, as `chunks` have them: through it the next one to
/// open the filesystem finds its chunk tree.
fn validate_array(superblock: &Superblock, rules: &Rules, chunks: &ChunkMap) -> Result<(), String> {
    let mut listed = ChunkMap::default();
    for entry in Entries::new(superblock.sys_chunk_array()) {
        let entry = entry.map_err(|bad| format!("system chunk array: {} at offset {}", bad.problem, bad.offset))?;
        let logical = Logical(entry.key.offset);
        let error = |problem: String| format!("system chunk array: chunk {logical}: {problem}");
        if entry.key.objectid != objectid::FIRST_CHUNK_TREE {
            return Err(error(format!("invalid objectid {}", entry.key.objectid)));
        }
        let mut damage = None;
        check_chunk(logical, entry.chunk, entry.stripes, rules, &mut |found| damage = damage.take().or(Some(found)));
        if let Some(damage) = damage {
            return Err(error(damage.to_string()));
        }
        if !entry.chunk.block_group_flags().contains(block_group::SYSTEM) {
            return Err(error("is not of type SYSTEM".to_owned()));
        }
        let mapping =
            ChunkMapping::new(logical, entry.chunk, entry.stripes).map_err(|problem| error(problem.to_string()))?;
        if chunks.find(logical) != Some(&mapping) {
            return Err(error("differs from that of the chunk tree".to_owned()));
        }
        listed.insert(mapping).map_err(|(_, other)| error(format!("overlaps chunk {other}")))?;
    }
    let mut system = chunks.iter().filter(|chunk| chunk.flags.contains(block_group::SYSTEM));
    if let Some(chunk) = system.find(|chunk| listed.find(chunk.logical).is_none()) {
        return Err(format!("system chunk array: SYSTEM chunk {} is not in it", chunk.logical));
    }
    match listed.find(superblock.chunk_root()) {
        Some(_) => Ok(()),
        None => Err(format!("system chunk array: no chunk holds chunk_root {}", superblock.chunk_root())),
    }
}
