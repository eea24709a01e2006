//! The extent tree and the tree of checksums after what they tell of has moved. Nothing of it is counted anew: extents and those
//! that refer to them have other addresses, and all else stays as it is written.

use std::collections::{BTreeMap, HashMap};

use crate::block::ItemRef;
use crate::block::edit::NewItem;
use crate::block::extent_item::{ExtentKind, Record};
use crate::block::reference::Reference;
use crate::disk::extent::{ExtentItem, InlineRef, InlineRefs, TreeBlockInfo};
use crate::disk::flags::extent::TREE_BLOCK;
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::error::{Error, ExtentProblem, Result};
use crate::rebuild::most_csum_bytes;
use crate::trans::{CsumForm, Filesystem};
use crate::tree::TreeRoot;
use crate::tree::csums::CsumRoot;
use crate::tree::edit::Editor;

use super::contents::DataExtent;
use super::forward::Forwarded;
use super::moving::Moving;

/// Changes of the extent tree that are made together.
const TOGETHER: usize = 1 << 16;

/// Where everything has gone.
pub struct Moves<'a> {
    /// Tree blocks, by their old addresses.
    pub blocks: &'a HashMap<Logical, Forwarded>,
    /// Data.
    pub moving: &'a Moving,
    /// Whether an address lies in a block group that nothing new is put into.
    pub is_closed: &'a dyn Fn(Logical) -> bool,
}

impl Moves<'_> {
    fn block(&self, logical: Logical) -> Option<Logical> {
        self.blocks.get(&logical).map(|forwarded| forwarded.to)
    }

    /// A reference as it is written now.
    fn reference(&self, reference: Reference) -> Reference {
        match reference {
            Reference::SharedBlock { parent } => {
                Reference::SharedBlock { parent: self.block(parent).unwrap_or(parent) }
            }
            Reference::SharedData { parent } => Reference::SharedData { parent: self.block(parent).unwrap_or(parent) },
            other => other,
        }
    }

    /// Whether a reference that stands in an item leads to a block that has moved.
    fn leads_to_moved(&self, inline: &[u8]) -> bool {
        InlineRefs::new(inline).flatten().any(|inline_ref| match inline_ref {
            InlineRef::SharedBlock { parent } | InlineRef::SharedData { parent, .. } => {
                self.blocks.contains_key(&Logical(parent))
            }
            _ => false,
        })
    }
}

/// What waits to be changed.
#[derive(Default)]
struct Pending {
    /// First and last key of ranges that go.
    gone: Vec<(Key, Key)>,
    /// Whether the last range may grow: nothing but what goes has come since.
    is_open: bool,
    new: BTreeMap<Key, Vec<u8>>,
    replaced: Vec<(Key, Vec<u8>)>,
    items: usize,
}

impl Pending {
    /// An item goes, and comes back with another key. Where extents move away, items that stand one after the other go at once: of
    /// the same extent, and where nothing new is put, no other can have come between.
    fn change_key(&mut self, key: Key, (new, data): (Key, Vec<u8>), moves: &Moves<'_>) {
        let moves_away = new.objectid != key.objectid;
        let is_closed = |key: Key| (moves.is_closed)(Logical(key.objectid));
        match self.gone.last_mut() {
            Some((first, last))
                if self.is_open
                    && moves_away
                    && (last.objectid == key.objectid || is_closed(*first) && is_closed(key)) =>
            {
                *last = key;
            }
            _ => self.gone.push((key, key)),
        }
        self.is_open = moves_away;
        self.items += 1;
        self.new.insert(new, data);
    }

    fn apply(&mut self, fs: &Filesystem) -> Result<()> {
        let Self { gone, new, replaced, .. } = std::mem::take(self);
        fs.edit_extent_tree(|editor| {
            for (first, last) in gone {
                editor.delete_range(first..=last)?;
            }
            for (key, data) in replaced {
                editor.replace(key, &data)?;
            }
            let new: Vec<NewItem<'_>> = new.iter().map(|(key, data)| NewItem { key: *key, data }).collect();
            editor.insert_sorted(&new)
        })
    }
}

/// Brings the extent tree up to date. Everything that moved has an item, or the filesystem is damaged.
///
/// # Errors
/// Items that are missing or make no sense, an extent tree that cannot be read, no space.
pub fn move_extents(fs: &Filesystem, extent_tree: &TreeRoot, moves: &Moves<'_>) -> Result<()> {
    let mut pending = Pending::default();
    let (mut blocks, mut data) = (0, 0);
    // The extent whose items the walk is at: its old address, and its new one.
    let mut current: Option<(u64, Logical)> = None;
    let mut failed = Ok(());
    let visit = |item: ItemRef<'_>| {
        if failed.is_err() {
            return;
        }
        let moved = match item.key.key_type {
            KeyType::EXTENT_ITEM | KeyType::METADATA_ITEM => extent_item(&item, moves).map(|moved| {
                current = moved.as_ref().and_then(|moved| Some((item.key.objectid, moved.to?)));
                blocks += u64::from(moved.as_ref().is_some_and(|moved| moved.is_block && moved.to.is_some()));
                data += u64::from(moved.as_ref().is_some_and(|moved| !moved.is_block && moved.to.is_some()));
                moved.map(|moved| (moved.key, moved.data))
            }),
            _ => {
                let to = current.filter(|(from, _)| *from == item.key.objectid).map(|(_, to)| to);
                Ok(keyed_reference(&item, to, moves).map(|key| (key, item.data.to_vec())))
            }
        };
        match moved {
            Ok(None) => pending.is_open = false,
            Ok(Some((key, data))) if key == item.key => {
                pending.is_open = false;
                pending.items += 1;
                pending.replaced.push((key, data));
            }
            Ok(Some(changed)) => pending.change_key(item.key, changed, moves),
            Err(error) => failed = Err(error),
        }
        if failed.is_ok() && pending.items >= TOGETHER {
            failed = pending.apply(fs);
        }
    };
    extent_tree.range(fs.volume(), Key::MIN, Key::MAX, visit)?;
    failed?;
    pending.apply(fs)?;
    match (blocks, data) == (moves.blocks.len() as u64, moves.moving.count()) {
        true => Ok(()),
        false => Err(Error::Damaged { problem: "tree blocks or data have no extent items".to_owned() }),
    }
}

/// The item of an extent, as it is to be.
struct MovedItem {
    key: Key,
    data: Vec<u8>,
    is_block: bool,
    /// The new address of the extent.
    to: Option<Logical>,
}

/// Nothing if the item stays as it is.
fn extent_item(item: &ItemRef<'_>, moves: &Moves<'_>) -> Result<Option<MovedItem>> {
    let logical = Logical(item.key.objectid);
    let error = |problem| Error::Extent { logical, problem };
    let (extent, rest) = ExtentItem::read_prefix(item.data).ok_or_else(|| error(ExtentProblem::TooShort))?;
    let is_block = extent.flags.get() & TREE_BLOCK != 0;
    let is_skinny = item.key.key_type == KeyType::METADATA_ITEM;
    let info = if is_block && !is_skinny { size_of::<TreeBlockInfo>() } else { 0 };
    let inline = rest.get(info..).ok_or_else(|| error(ExtentProblem::TooShort))?;
    let forwarded = moves.blocks.get(&logical).filter(|_| is_block);
    let to = if is_block { forwarded.map(|forwarded| forwarded.to) } else { moves.moving.to(logical) };
    let leads_to_moved = moves.leads_to_moved(inline);
    if to.is_none() && !leads_to_moved {
        return Ok(None);
    }
    let key = Key { objectid: to.unwrap_or(logical).0, ..item.key };
    let level = match is_skinny {
        true => u8::try_from(item.key.offset).map_err(|_| error(ExtentProblem::Level))?,
        false => TreeBlockInfo::read_prefix(rest).map_or(0, |(info, _)| info.level),
    };
    let kind = if is_block { ExtentKind::Block { level } } else { ExtentKind::Data { length: item.key.offset } };
    let mut record = Record::parse(item.key, kind, item.data).map_err(error)?;
    if let Some(forwarded) = forwarded {
        record.extent.generation = forwarded.generation.0.into();
    }
    if leads_to_moved {
        let refs = std::mem::take(&mut record.refs);
        refs.into_iter().for_each(|(reference, count)| record.insert(moves.reference(reference), count));
    }
    Ok(Some(MovedItem { key, data: record.to_bytes(), is_block, to }))
}

/// The new key of a reference that has an item; nothing if it stays as it is, or is none.
fn keyed_reference(item: &ItemRef<'_>, to: Option<Logical>, moves: &Moves<'_>) -> Option<Key> {
    let offset = match item.key.key_type {
        KeyType::SHARED_BLOCK_REF | KeyType::SHARED_DATA_REF => {
            moves.block(Logical(item.key.offset)).map_or(item.key.offset, |parent| parent.0)
        }
        KeyType::TREE_BLOCK_REF | KeyType::EXTENT_DATA_REF | KeyType::EXTENT_OWNER_REF => item.key.offset,
        _ => return None,
    };
    let key = Key { objectid: to.map_or(item.key.objectid, |to| to.0), offset, ..item.key };
    (key != item.key).then_some(key)
}

/// The checksums of data that has moved, by its old addresses: runs in order.
#[derive(Debug, Default)]
pub struct Csums {
    runs: Vec<(Logical, Vec<u8>)>,
    size: usize,
    sectorsize: u64,
}

impl Csums {
    /// The checksum of the sector at `logical`.
    pub fn get(&self, logical: Logical) -> Option<&[u8]> {
        let index = self.runs.partition_point(|(start, _)| *start <= logical).checked_sub(1)?;
        let (start, csums) = &self.runs[index];
        let from = usize::try_from((logical.0 - start.0) / self.sectorsize).ok()?.checked_mul(self.size)?;
        csums.get(from..from.checked_add(self.size)?)
    }

    /// Whether any sector of an extent has a checksum.
    pub fn any_of(&self, extent: DataExtent) -> bool {
        let index = self.runs.partition_point(|(start, csums)| self.end(*start, csums) <= extent.start.0);
        self.runs.get(index).is_some_and(|(start, _)| start.0 < extent.start.0 + extent.length)
    }

    /// Reads the checksums of all data that moves.
    ///
    /// # Errors
    /// The tree of checksums cannot be read.
    pub fn read(fs: &Filesystem, moving: &Moving) -> Result<Self> {
        let (volume, format) = (fs.volume(), fs.volume().format());
        let mut csums = Self { runs: Vec::new(), size: format.csum_type.size(), sectorsize: format.sectorsize.into() };
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (extent, _) in moving.iter() {
            let (start, end) = (extent.start.0, extent.start.0 + extent.length);
            match ranges.last_mut() {
                Some((_, last)) if *last == start => *last = end,
                _ => ranges.push((start, end)),
            }
        }
        let root = CsumRoot::of(volume, &TreeRoot::root_tree(volume))?;
        root.for_each(volume, &ranges, |run| match csums.runs.last_mut() {
            Some((start, last)) if start.0 + (last.len() / csums.size) as u64 * csums.sectorsize == run.logical.0 => {
                last.extend_from_slice(run.csums);
            }
            _ => csums.runs.push((run.logical, run.csums.to_vec())),
        })?;
        Ok(csums)
    }

    /// Lets the checksums stand where the data has gone.
    ///
    /// # Errors
    /// Items that make no sense, no space.
    pub fn forward(&self, fs: &Filesystem, moving: &Moving) -> Result<()> {
        if self.runs.is_empty() {
            return Ok(());
        }
        let most = most_csum_bytes(fs.volume().format().nodesize, self.size);
        let mut new: Vec<(u64, &[u8])> = Vec::new();
        for (extent, to) in moving.iter() {
            let end = extent.start.0 + extent.length;
            let first = self.runs.partition_point(|(start, csums)| self.end(*start, csums) <= extent.start.0);
            for (start, csums) in self.runs[first..].iter().take_while(|(start, _)| start.0 < end) {
                let (from, until) = (start.0.max(extent.start.0), self.end(*start, csums).min(end));
                let at = |address: u64| ((address - start.0) / self.sectorsize) as usize * self.size;
                new.push((to.0 + (from - extent.start.0), &csums[at(from)..at(until)]));
            }
        }
        new.sort_unstable_by_key(|(start, _)| *start);
        let mut items: Vec<(u64, Vec<u8>)> = Vec::new();
        for (mut start, mut csums) in new {
            while !csums.is_empty() {
                let room = match items.last() {
                    Some((first, last)) if self.end(Logical(*first), last) == start && last.len() < most => {
                        most - last.len()
                    }
                    _ => {
                        items.push((start, Vec::new()));
                        most
                    }
                };
                let (now, later) = csums.split_at(csums.len().min(room));
                if let Some((_, last)) = items.last_mut() {
                    last.extend_from_slice(now);
                }
                start += (now.len() / self.size) as u64 * self.sectorsize;
                csums = later;
            }
        }
        let form = CsumForm { size: self.size as u64, sectorsize: self.sectorsize };
        fs.change_checksums(|root, store| {
            for (start, csums) in &self.runs {
                form.delete(root, store, *start, self.end(*start, csums) - start.0)?;
            }
            let key = |start: u64| Key::new(objectid::EXTENT_CSUM, KeyType::EXTENT_CSUM, start);
            let items: Vec<NewItem<'_>> =
                items.iter().map(|(start, data)| NewItem { key: key(*start), data }).collect();
            Editor::new(root, store).insert_sorted(&items)
        })
    }

    fn end(&self, start: Logical, csums: &[u8]) -> u64 {
        start.0.saturating_add((csums.len() / self.size.max(1)) as u64 * self.sectorsize)
    }
}
