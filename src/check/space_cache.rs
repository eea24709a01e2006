//! The v1 cache of free space, which the kernel keeps in hidden files of the root tree, against the extents.
//!
//! The kernel uses the file of a block group only if the generations of superblock, header, inode and file agree and if
//! the file lists as many bytes as are free (`load_free_space_cache` in fs/btrfs/free-space-cache.c). What it does not
//! use does no harm. What it does use and is wrong makes it write over data.

use std::collections::BTreeSet;

use crate::disk::flags::{compat_ro, superblock};
use crate::disk::inode::InodeItem;
use crate::disk::space::FreeSpaceHeader;
use crate::disk::{Key, KeyType, Logical, Transid, objectid};
use crate::problem::{CacheFault, SpaceCacheProblem};
use crate::survey::{Items, keys_of, keys_of_type};
use crate::volume::{ChunkMapping, Volume, excluded_ranges};

use super::block_groups::knows_extents;
use super::findings::Findings;
use super::free_space::Space;
use super::space_cache_file::{CacheFile, NotRead};

pub fn check(volume: &Volume, root_tree: &Items, space: &Space<'_>, findings: &Findings) {
    let superblock = volume.superblock();
    let (have, expect) = (Transid::from(superblock.cache_generation), superblock.generation());
    let unused = [Transid(0), Transid(u64::MAX)].contains(&have);
    if !unused && have != expect && superblock.flags.get() & superblock::SEEDING == 0 {
        findings.report(SpaceCacheProblem::Stale { have, expect });
    }
    let (from, to) = keys_of(objectid::FREE_SPACE);
    let mut reported = BTreeSet::new();
    for item in root_tree.range(from, to) {
        let logical = Logical(item.key.offset);
        if space.chunks.lack(logical) && !space.groups.hold(logical) && reported.insert(logical) {
            findings.report(SpaceCacheProblem::Orphan { logical });
        }
    }
    if have == expect && !superblock.has_compat_ro(compat_ro::FREE_SPACE_TREE) {
        for chunk in space.chunks.mappings() {
            check_group(volume, root_tree, chunk, space, findings);
        }
    }
}

fn check_group(volume: &Volume, root_tree: &Items, chunk: &ChunkMapping, space: &Space<'_>, findings: &Findings) {
    let logical = chunk.logical;
    let header_key = Key::new(objectid::FREE_SPACE, KeyType(0), logical.0);
    let header = root_tree.get(header_key).and_then(|data| FreeSpaceHeader::read_prefix(data));
    let Some((header, _)) = header else { return };
    let inode = Key::from(&header.location);
    let inode_item = root_tree.get(inode).and_then(|data| InodeItem::read_prefix(data)).map(|(item, _)| item);
    let (from, to) = keys_of_type(inode.objectid, KeyType::EXTENT_DATA);
    let Some(inode_item) = inode_item.filter(|_| root_tree.covers(from, to)) else {
        if root_tree.lacks(inode) {
            let problem = CacheFault::NoInode { inode: inode.objectid };
            findings.report(SpaceCacheProblem::File { logical, problem });
        }
        return;
    };
    // The kernel gives up a cache by another generation of its inode.
    if inode_item.generation != header.generation || inode_item.size.get() == 0 {
        return;
    }
    let file = CacheFile::new(volume, root_tree.range(from, to), inode_item.size.get());
    let listed = match file.read(header, chunk) {
        Ok(listed) => listed,
        Err(NotRead::Damaged(problem)) => {
            findings.report(SpaceCacheProblem::File { logical, problem });
            return;
        }
        Err(NotRead::Unreadable) => return,
    };
    let Some(group) = space.groups.of_chunk(chunk) else { return };
    let have = listed.bytes();
    let expect = chunk.length.saturating_sub(group.used).saturating_sub(excluded_bytes(chunk));
    if have != expect {
        findings.report(SpaceCacheProblem::Bytes { logical, have, expect });
    } else if knows_extents(space.extent_tree, logical, chunk.end()) {
        listed.check_tiling(chunk, space.extents, findings);
    }
}

/// Bytes that are never given out, as the kernel counts them: what lies in two ranges twice.
fn excluded_bytes(chunk: &ChunkMapping) -> u64 {
    let lengths = excluded_ranges(chunk).into_iter().map(|(from, to)| to.0.saturating_sub(from.0));
    lengths.fold(0, u64::saturating_add)
}
