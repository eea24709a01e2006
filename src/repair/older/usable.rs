//! What of a block may be brought back.

use crate::block::extent_item::ExtentKind;
use crate::block::item::{Rules, check_block};
use crate::block::reference::file_extent;
use crate::block::{ItemRef, Leaf};
use crate::disk::flags::block_group;
use crate::disk::flags::extent::DATA;
use crate::disk::inode::{FileExtentDisk, FileExtentItem, InodeItem, compression, file_extent_type};
use crate::disk::{Key, KeyType, Logical, Transid};
use crate::finding::{Finding, Severity};
use crate::survey::{Coverage, Survey, UsedExtent};
use crate::volume::Volume;

/// What an item or a pointer is judged by.
pub struct Judge<'j> {
    /// The filesystem.
    pub volume: &'j Volume,
    /// What is known of it, with `keep_blocks`.
    pub survey: &'j Survey,
    /// The rules of items.
    pub rules: &'j Rules,
    /// Whether an inode, whose item does not stand in the leaf, has no checksums on purpose; nothing if that is not known.
    pub is_nodatasum: &'j dyn Fn(u64) -> Option<bool>,
}

/// Why an item is not brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It is not what its type says; the code of the damage.
    Damaged(&'static str),
    /// Its data lies in no chunk of data.
    NotPlaced,
    /// Something else uses space of its data now.
    InUse(UsedExtent),
    /// The extent tree has another extent where its data was, or one that is newer than the item.
    Replaced {
        /// Address of the other extent.
        extent: Logical,
        /// Generation in which that was allocated.
        generation: Transid,
    },
    /// Its data has no checksums any more, and should have.
    NoCsums,
}

/// What of a leaf may be brought back.
#[derive(Debug, Default)]
pub struct UsableItems {
    /// Items with their data.
    pub items: Vec<(Key, Vec<u8>)>,
    /// File extents among them whose data nothing vouches for: neither an extent item nor checksums.
    pub unproven: Vec<Key>,
    /// The others.
    pub dropped: Vec<(Key, Dropped)>,
}

impl Judge<'_> {
    /// What a leaf of the tree `tree` may bring back of the keys from `from` to before `end`.
    pub fn items(&self, leaf: Leaf<'_>, tree: u64, (from, end): (Option<Key>, Option<Key>)) -> UsableItems {
        let mut damaged: Vec<(Option<u32>, &'static str)> = Vec::new();
        check_block(leaf.block(), tree, self.rules, &mut |problem| {
            if problem.severity() >= Severity::Error {
                damaged.push((problem.place.slot, problem.code()));
            }
        });
        let mut usable = UsableItems::default();
        let is_within = |key: Key| from.is_none_or(|from| from <= key) && end.is_none_or(|end| key < end);
        for (slot, header) in leaf.headers().iter().enumerate() {
            let key = Key::from(&header.key);
            if !is_within(key) {
                continue;
            }
            // Damage without a slot is of the whole block.
            let is_own = |(damaged, _): &&(Option<u32>, _)| damaged.is_none_or(|damaged| damaged as usize == slot);
            let code = damaged.iter().find(is_own).map(|(_, code)| *code);
            let item = match (code, leaf.item(slot)) {
                (None, Some(item)) => item,
                (code, _) => {
                    usable.dropped.push((key, Dropped::Damaged(code.unwrap_or("leaf-item-outside"))));
                    continue;
                }
            };
            match self.judge_data(leaf, &item) {
                Ok(is_proven) => {
                    usable.items.push((key, item.data.to_vec()));
                    if !is_proven {
                        usable.unproven.push(key);
                    }
                }
                Err(dropped) => usable.dropped.push((key, dropped)),
            }
        }
        usable
    }

    /// Whether the data of an item is still there; `Ok(false)` where it may be, and nothing vouches for it.
    fn judge_data(&self, leaf: Leaf<'_>, item: &ItemRef<'_>) -> Result<bool, Dropped> {
        let Some(extent) = file_extent(item, 0) else { return Ok(true) };
        let (start, length) = (extent.extent, extent.length);
        let end = start.checked_add(length).filter(|_| length > 0).ok_or(Dropped::NotPlaced)?;
        let chunk = self.volume.chunks().find(start);
        if !chunk.is_some_and(|chunk| chunk.flags.contains(block_group::DATA) && end <= chunk.end()) {
            return Err(Dropped::NotPlaced);
        }
        let same = ExtentKind::Data { length };
        let used = self.survey.used_over(start, end, self.volume.format().nodesize);
        if let Some(other) = used.into_iter().find(|used| used.logical != start || used.kind != same) {
            return Err(Dropped::InUse(other));
        }
        let Some((file, rest)) = FileExtentItem::read_prefix(item.data) else { return Err(Dropped::NotPlaced) };
        let Some((disk, _)) = FileExtentDisk::read_prefix(rest) else { return Err(Dropped::NotPlaced) };
        let mut is_claimed = false;
        for claim in self.survey.claims.extents.over(start, end) {
            let is_same = claim.logical == start && claim.length == length && claim.flags & DATA != 0;
            if !is_same || claim.generation > file.generation.get() {
                return Err(Dropped::Replaced { extent: claim.logical, generation: Transid(claim.generation) });
            }
            is_claimed = true;
        }
        if file.r#type == file_extent_type::PREALLOC || self.is_nodatasum(leaf, item.key.objectid) == Some(true) {
            return Ok(is_claimed);
        }
        let (from, bytes) = match file.compression {
            compression::NONE => {
                (start.checked_add(disk.offset.get()).ok_or(Dropped::NotPlaced)?, disk.num_bytes.get())
            }
            _ => (start, length),
        };
        match self.survey.csums.coverage(from.0, bytes) {
            Coverage::All => Ok(true),
            Coverage::Unknown => Ok(is_claimed),
            Coverage::Part | Coverage::None => Err(Dropped::NoCsums),
        }
    }

    fn is_nodatasum(&self, leaf: Leaf<'_>, inode: u64) -> Option<bool> {
        let key = Key::new(inode, KeyType::INODE_ITEM, 0);
        let item = leaf.item(leaf.block().slot_of(key)).filter(|item| item.key == key);
        let of_leaf = item.and_then(|item| Some(!InodeItem::read_prefix(item.data)?.0.has_csums()));
        of_leaf.or_else(|| (self.is_nodatasum)(inode))
    }
}
