//! File extents at an offset of the file that is not the one that their extents know of: a bit has flipped in their key, or in how
//! far into the extent they begin.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::block::reference::Reference;
use crate::disk::inode::file_extent_type;
use crate::disk::{Key, KeyType, Logical};
use crate::survey::ExtentReferences;

use super::super::edits::leaf_of;
use super::super::fix::Fix;
use super::super::plan::{Doubt, Plan};
use super::file_extents::{FoundExtent, covers, extent_reach};
use super::inode_items::{inode_item, items_of};

/// A reference that an extent knows of and no file has, and the one that a file has instead.
pub struct Moved {
    pub extent: Logical,
    pub claimed: Reference,
    pub found: Reference,
}

/// The one reference of an extent that is at another offset of the same file; nothing where more differ.
pub fn moved(references: &ExtentReferences) -> Option<Moved> {
    let differing = |is_wanted: fn(Ordering) -> bool| {
        let mut all = references.references.iter().filter(|record| is_wanted(record.claimed.cmp(&record.found)));
        all.next().filter(|_| all.next().is_none())
    };
    let (claimed, found) = (differing(Ordering::is_gt)?, differing(Ordering::is_lt)?);
    let is_one = claimed.claimed - claimed.found == 1 && found.found - found.claimed == 1;
    match (claimed.reference, found.reference) {
        (
            Reference::ExtentData { root, objectid, .. },
            Reference::ExtentData { root: other_root, objectid: other_objectid, .. },
        ) if is_one && (root, objectid) == (other_root, other_objectid) => {
            Some(Moved { extent: references.extent, claimed: claimed.reference, found: found.reference })
        }
        _ => None,
    }
}

/// The extents of a file, and where it ends.
struct Neighbours {
    extents: Vec<(Key, u64, u64)>,
    end_of_file: Option<u64>,
}

impl Neighbours {
    fn of(items: &BTreeMap<Key, Vec<u8>>, sectorsize: u64) -> Self {
        let extents = items.iter().filter(|(key, _)| key.key_type == KeyType::EXTENT_DATA);
        let covered =
            extents.filter_map(|(key, data)| covers(*key, data, sectorsize).map(|(start, end, _)| (*key, start, end)));
        let end_of_file = inode_item(items).and_then(|item| item.size.get().checked_next_multiple_of(sectorsize));
        Self { extents: covered.collect(), end_of_file }
    }

    /// How well a range fits between other extents than `key` and the end of the file: `END` for each end that is one of theirs, and 1
    /// for the beginning of the file, where a range comes to be by chance. Nothing where it overlaps another one or, of data, reaches
    /// past the end.
    fn fit(&self, key: Key, start: u64, length: u64, is_prealloc: bool) -> Option<usize> {
        let end = start.checked_add(length).filter(|end| *end > start)?;
        let mut ends = usize::from(start == 0) + END * usize::from(self.end_of_file == Some(end));
        for (_, other_start, other_end) in self.extents.iter().filter(|(other, ..)| *other != key) {
            if start < *other_end && *other_start < end {
                return None;
            }
            ends += END * (usize::from(*other_end == start) + usize::from(*other_start == end));
        }
        (is_prealloc || self.end_of_file.is_none_or(|last| end <= last)).then_some(ends)
    }
}

/// What an end of a range counts where another extent or the file ends.
const END: usize = 2;

/// The way that fits best, if no other way fits as well. It has to fit better than what is there, by an end of another extent or of the
/// file, unless what is there cannot be.
fn best<T>(mut ways: Vec<(usize, T)>, as_it_is: Option<usize>) -> Option<T> {
    let most = ways.iter().map(|(ends, _)| *ends).max()?;
    if as_it_is.is_some_and(|as_it_is| most < END || most <= as_it_is) {
        return None;
    }
    ways.retain(|(ends, _)| *ends == most);
    let (_, way) = ways.pop()?;
    ways.is_empty().then_some(way)
}

/// One way to have the file refer to the extent as that knows of it.
struct Way {
    extent: FoundExtent,
    key: Key,
    /// How far into the extent the range begins.
    offset: u64,
}

/// Puts back the bit that makes the file refer to the extent as that knows of it, if one way alone fits the rest of the file better
/// than what is there. Where nothing tells which of the two is wrong, the file is doubtful.
pub fn put_back(plan: &mut Plan<'_>, moved: &Moved, of_file: Vec<FoundExtent>) {
    let Reference::ExtentData { root: tree, objectid: inode, offset: wanted } = moved.claimed else { return };
    let Some(root) = plan.root(tree) else { return };
    let items = items_of(plan, &root, inode);
    let neighbours = Neighbours::of(&items, plan.volume.format().sectorsize.into());
    let (mut ways, mut as_it_is) = (Vec::new(), None);
    for mut extent in of_file {
        let key = extent.key;
        let Some((item, disk)) = extent.parts() else { continue };
        let (offset, length, ram_bytes) = (disk.offset.get(), disk.num_bytes.get(), item.ram_bytes.get());
        let is_prealloc = item.r#type == file_extent_type::PREALLOC;
        let is_within = |offset: u64| offset.checked_add(length).is_some_and(|end| end <= ram_bytes);
        as_it_is = as_it_is.max(neighbours.fit(key, key.offset, length, is_prealloc).filter(|_| is_within(offset)));
        for bit in (0..u64::BITS).map(|bit| 1_u64 << bit) {
            let tries = [(key.offset ^ bit, offset), (key.offset, offset ^ bit)];
            for (start, offset) in tries.into_iter().filter(|(start, offset)| start.wrapping_sub(*offset) == wanted) {
                if let Some(ends) = neighbours.fit(key, start, length, is_prealloc).filter(|_| is_within(offset)) {
                    let key = Key { offset: start, ..key };
                    ways.push((ends, Way { extent: extent.clone(), key, offset }));
                }
            }
        }
    }
    let is_any = !ways.is_empty();
    match best(ways, as_it_is) {
        Some(way) => take(plan, way),
        None if is_any => plan.doubts.push(Doubt::of_inode(tree, inode)),
        None => {}
    }
}

/// Puts back the bit of the length of one extent of a file that makes all of them have as many bytes as the inode counts, if one way
/// alone fits the rest of the file better than what is there. Of a `damaged` item, in its leaf, that one alone is tried, for all trees
/// that share it. Whether there is a way.
pub fn put_length_back(plan: &mut Plan<'_>, tree: u64, inode: u64, damaged: Option<(Logical, Key)>) -> bool {
    let Some(root) = plan.root(tree) else { return false };
    let items = items_of(plan, &root, inode);
    let Some(item) = inode_item(&items) else { return false };
    let extents = || items.iter().filter(|(key, _)| key.key_type == KeyType::EXTENT_DATA);
    let sum = extents().fold(0, |sum: u64, (key, data)| sum.wrapping_add(extent_reach(*key, data).1));
    let neighbours = Neighbours::of(&items, plan.volume.format().sectorsize.into());
    let mut ways = Vec::new();
    for (key, data) in extents().filter(|(key, _)| damaged.is_none_or(|(_, damaged)| **key == damaged)) {
        let mut found = FoundExtent { tree, leaf: Logical(0), key: *key, data: data.clone() };
        let Some((extent, disk)) = found.parts() else { continue };
        let (length, ram_bytes) = (disk.num_bytes.get(), extent.ram_bytes.get());
        let wanted = item.nbytes.get().wrapping_sub(sum.wrapping_sub(length));
        let is_within = |length: u64| disk.offset.get().checked_add(length).is_some_and(|end| end <= ram_bytes);
        let has_data = extent.r#type != file_extent_type::INLINE && disk.disk_bytenr.get() != 0;
        if !has_data || !(wanted ^ length).is_power_of_two() || !is_within(wanted) {
            continue;
        }
        let is_prealloc = extent.r#type == file_extent_type::PREALLOC;
        let as_it_is = neighbours.fit(*key, key.offset, length, is_prealloc).filter(|_| is_within(length));
        let is_better = |ends: &usize| Some(*ends) > as_it_is;
        let Some(ends) = neighbours.fit(*key, key.offset, wanted, is_prealloc).filter(is_better) else { continue };
        disk.num_bytes = wanted.into();
        ways.push((ends, (found, wanted > length)));
    }
    let Some((FoundExtent { key, data, .. }, is_longer)) = best(ways, None) else { return false };
    let is_set = match damaged {
        Some((leaf, _)) => plan.edits.set_for_all(leaf, key, Some(data)),
        None => plan.edits.set(plan.volume, &root, key, Some(data)),
    };
    if is_set {
        plan.fix(Fix::Item { tree, key, what: "a bit of its length is put back: the inode counts that one" });
    }
    // What the file had given up may be what it has now.
    if is_set && is_longer && damaged.is_none() {
        plan.doubts.push(Doubt::of_inode(tree, inode));
    }
    is_set
}

fn take(plan: &mut Plan<'_>, way: Way) {
    let Way { mut extent, key, offset } = way;
    let Some((_, disk)) = extent.parts() else { return };
    disk.offset = offset.into();
    let FoundExtent { tree, leaf, key: old, data } = extent;
    let is_its_place = plan.root(tree).and_then(|root| leaf_of(plan.volume, &root, key)) == Some(leaf);
    if !is_its_place || !plan.edits.set_for_all(leaf, key, Some(data)) {
        plan.doubts.push(Doubt::of_inode(tree, old.objectid));
        return;
    }
    if key != old {
        plan.edits.set_for_all(leaf, old, None);
    }
    plan.fix(Fix::Item { tree, key: old, what: "a bit of its offset is put back: its extent knows of that one" });
}
