//! The items of a block group in the free space tree.
//!
//! A group has an info item and, in one of two forms, its free ranges: an item for each of them, or bitmaps that tile the
//! group, whose bits, the lowest of a byte first, stand for sectors. See `fs/btrfs/free-space-tree.c`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use zerocopy::IntoBytes;

use crate::disk::flags::free_space_info::USING_BITMAPS;
use crate::disk::node::Item;
use crate::disk::space::{FREE_SPACE_BITMAP_SIZE, FreeSpaceInfo, free_space_bitmap_range};
use crate::disk::{Key, KeyType, Logical};
use crate::error::{Addressed, Error, FreeSpaceItemProblem, FreeSpaceProblem, Result};

use super::FreeExtents;

/// How many extents lie between the thresholds, so that a group does not go from form to form and back.
const THRESHOLD_DISTANCE: u64 = 100;

/// A block group; `length` in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Logical address of the block group.
    pub logical: Logical,
    /// Its bytes.
    pub length: u64,
}

/// Items by key.
pub type Items = BTreeMap<Key, Vec<u8>>;

/// The form of a group's free ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Extents,
    Bitmaps,
}

impl Group {
    /// The keys of its items and no others.
    pub fn keys(&self) -> Result<RangeInclusive<Key>> {
        let last = self.logical.0.checked_add(self.length).and_then(|end| end.checked_sub(1));
        let last = last.filter(|_| self.length > 0).ok_or_else(|| self.error(FreeSpaceProblem::Length))?;
        Ok(Key::new(self.logical.0, KeyType(0), 0)..=Key::new(last, KeyType(u8::MAX), u64::MAX))
    }

    fn is_aligned(&self, sectorsize: u64) -> bool {
        sectorsize > 0 && self.logical.0.is_multiple_of(sectorsize) && self.length.is_multiple_of(sectorsize)
    }

    /// Whether a range lies within the group and is made of sectors.
    fn holds(&self, start: Logical, length: u64, sectorsize: u64) -> bool {
        let inside = start.0.checked_sub(self.logical.0).and_then(|before| before.checked_add(length));
        Group { logical: start, length }.is_aligned(sectorsize)
            && length > 0
            && inside.is_some_and(|end| end <= self.length)
    }

    /// The items that say what is free, in place of the `present` ones; a group without any is a new one. Present items
    /// that make no sense are an error, and so are free ranges outside of the group.
    pub fn items(&self, present: &Items, free: &FreeExtents, sectorsize: u32) -> Result<Items> {
        let sectorsize = u64::from(sectorsize);
        if !self.is_aligned(sectorsize) {
            return Err(self.error(FreeSpaceProblem::Unaligned));
        }
        let form = Present { group: self, sectorsize }.form(present)?;
        self.new_items(free, form, sectorsize)
    }

    fn info_key(&self) -> Key {
        Key::new(self.logical.0, KeyType::FREE_SPACE_INFO, self.length)
    }

    /// The present form is kept unless the other takes clearly less room.
    fn new_items(&self, free: &FreeExtents, present: Form, sectorsize: u64) -> Result<Items> {
        if let Some((start, length)) = free.iter().find(|(start, length)| !self.holds(*start, *length, sectorsize)) {
            return Err(self.error(FreeSpaceProblem::Range { start, length }));
        }
        let too_many = || self.error(FreeSpaceProblem::TooMany);
        let count = u32::try_from(free.iter().count()).map_err(|_| too_many())?;
        let (low, high) = self.thresholds(sectorsize);
        let form = match present {
            Form::Extents if u64::from(count) > high => Form::Bitmaps,
            Form::Bitmaps if u64::from(count) < low => Form::Extents,
            present => present,
        };
        let mut items = match form {
            Form::Extents => extents(free),
            Form::Bitmaps => self.bitmaps(free, sectorsize),
        };
        let flags = if form == Form::Bitmaps { USING_BITMAPS as u32 } else { 0 };
        let info = FreeSpaceInfo { extent_count: count.into(), flags: flags.into() };
        items.insert(self.info_key(), info.as_bytes().to_vec());
        Ok(items)
    }

    /// Bitmaps are made with more extents than the higher of these numbers, and given up with less than the lower.
    fn thresholds(&self, sectorsize: u64) -> (u64, u64) {
        let bitmaps = self.length.div_ceil(free_space_bitmap_range(sectorsize));
        let bytes = bitmaps.saturating_mul((size_of::<Item>() + FREE_SPACE_BITMAP_SIZE) as u64);
        let high = bytes / size_of::<Item>() as u64;
        (high.saturating_sub(THRESHOLD_DISTANCE), high)
    }

    /// Bitmaps for all of the group, of free ranges that it holds.
    fn bitmaps(&self, free: &FreeExtents, sectorsize: u64) -> Items {
        let mut bits = vec![0_u8; (self.length / sectorsize).div_ceil(8) as usize];
        for (start, length) in free.iter() {
            let first = (start.0 - self.logical.0) / sectorsize;
            for bit in first..first + length / sectorsize {
                bits[(bit / 8) as usize] |= 1 << (bit % 8);
            }
        }
        let range = free_space_bitmap_range(sectorsize);
        let offsets = (0..self.length).step_by(range as usize);
        let item = |(offset, bits): (u64, &[u8])| {
            let length = range.min(self.length - offset);
            (Key::new(self.logical.0 + offset, KeyType::FREE_SPACE_BITMAP, length), bits.to_vec())
        };
        offsets.zip(bits.chunks(FREE_SPACE_BITMAP_SIZE)).map(item).collect()
    }

    fn error(&self, problem: FreeSpaceProblem) -> Error {
        Error::Block { what: Addressed::FreeSpace, logical: self.logical, problem: problem.into() }
    }
}

fn extents(free: &FreeExtents) -> Items {
    free.iter().map(|(start, length)| (Key::new(start.0, KeyType::FREE_SPACE_EXTENT, length), Vec::new())).collect()
}

/// The rules for the items that a group has.
struct Present<'g> {
    group: &'g Group,
    sectorsize: u64,
}

impl Present<'_> {
    /// The form of the items. They are verified: a change of a damaged tree would make the damage worse.
    fn form(&self, items: &Items) -> Result<Form> {
        let Some((first, info)) = items.first_key_value() else { return Ok(Form::Extents) };
        if *first != self.group.info_key() {
            return Err(self.damage(*first, FreeSpaceItemProblem::NoInfo));
        }
        let info = FreeSpaceInfo::read_prefix(info).filter(|(_, rest)| rest.is_empty());
        let (info, _) = info.ok_or_else(|| self.damage(*first, FreeSpaceItemProblem::Size))?;
        let form = match u64::from(info.flags.get()) {
            0 => Form::Extents,
            USING_BITMAPS => Form::Bitmaps,
            _ => return Err(self.damage(*first, FreeSpaceItemProblem::Flags)),
        };
        let ranges = items.iter().skip(1).map(|(key, data)| (*key, &data[..]));
        let count = match form {
            Form::Extents => self.count_extents(ranges)?,
            Form::Bitmaps => self.count_in_bitmaps(ranges)?,
        };
        match count == u64::from(info.extent_count.get()) {
            true => Ok(form),
            false => Err(self.damage(*first, FreeSpaceItemProblem::Count { count })),
        }
    }

    fn count_extents<'d>(&self, items: impl Iterator<Item = (Key, &'d [u8])>) -> Result<u64> {
        let (mut position, mut count) = (self.group.logical.0, 0);
        for (key, data) in items {
            self.check_range(key, KeyType::FREE_SPACE_EXTENT, position)?;
            if !data.is_empty() {
                return Err(self.damage(key, FreeSpaceItemProblem::Size));
            }
            position = key.objectid + key.offset;
            count += 1;
        }
        Ok(count)
    }

    fn count_in_bitmaps<'d>(&self, items: impl Iterator<Item = (Key, &'d [u8])>) -> Result<u64> {
        let (mut position, mut count, mut was_free) = (self.group.logical.0, 0, false);
        for (key, data) in items {
            self.check_range(key, KeyType::FREE_SPACE_BITMAP, position)?;
            let bits = key.offset / self.sectorsize;
            if data.len() as u64 != bits.div_ceil(8) {
                return Err(self.damage(key, FreeSpaceItemProblem::Size));
            }
            if key.objectid != position {
                return Err(self.damage(key, FreeSpaceItemProblem::Gap));
            }
            let all = data.iter().flat_map(|byte| (0..8).map(move |bit| byte & (1 << bit) != 0));
            for is_free in all.take(bits as usize) {
                count += u64::from(is_free && !was_free);
                was_free = is_free;
            }
            position = key.objectid + key.offset;
        }
        match position == self.group.logical.0 + self.group.length {
            true => Ok(count),
            false => Err(self.damage(self.group.info_key(), FreeSpaceItemProblem::NoEnd)),
        }
    }

    /// Whether an item is of the form in use, and its range lies in the group, from `position` on.
    fn check_range(&self, key: Key, form: KeyType, position: u64) -> Result<()> {
        if key.key_type != form {
            return Err(self.damage(key, FreeSpaceItemProblem::Form));
        }
        if !self.group.holds(Logical(key.objectid), key.offset, self.sectorsize) {
            return Err(self.damage(key, FreeSpaceItemProblem::Range));
        }
        match key.objectid < position {
            true => Err(self.damage(key, FreeSpaceItemProblem::Overlaps)),
            false => Ok(()),
        }
    }

    fn damage(&self, key: Key, problem: FreeSpaceItemProblem) -> Error {
        self.group.error(FreeSpaceProblem::Item { key, problem })
    }
}
