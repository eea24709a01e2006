//! The item of an extent, with the references that stand in it, and the items of references behind it.
//!
//! References stand in the item, in the order of their types and against that of their sequences, until it grows too
//! large; then they get items of their own, and none is added to the extent's before those are gone (`insert_inline_backref`
//! and `lookup_inline_extent_backref` in fs/btrfs/extent-tree.c).

use std::cmp::Reverse;

use zerocopy::IntoBytes;

use crate::block::reference::Reference;
use crate::disk::extent::{ExtentDataRef, ExtentItem, InlineRef, InlineRefs, SharedDataRef, TreeBlockInfo};
use crate::disk::flags::extent::{DATA, FULL_BACKREF, TREE_BLOCK};
use crate::disk::node::{Item, leaf_data_size};
use crate::disk::{Key, KeyType, Logical, Transid, hash};
use crate::error::Result;
use crate::tree::TreeRoot;
use crate::tree::edit::{Blocks, Cursor, Editor};

use super::{Change, Kind, Sharing, damage};

/// What the items of a filesystem's extents have in common.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    pub nodesize: u32,
    /// Whether new blocks get items with skinny metadata.
    pub is_skinny: bool,
    /// Of new extents.
    pub generation: Transid,
}

/// What becomes of an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    InUse,
    /// Nobody refers to it.
    Free,
}

/// An extent's item.
struct Record {
    key: Key,
    extent: ExtentItem,
    /// Of a block without skinny metadata.
    info: Option<TreeBlockInfo>,
    /// Who pays for it under simple quotas, which stands before the references.
    owner: Option<u64>,
    refs: Vec<(Reference, u64)>,
}

/// The keys that the item of an extent may have.
fn keys(logical: Logical, kind: Kind, nodesize: u32) -> impl Iterator<Item = Key> {
    let (level, length) = match kind {
        Kind::Block { level } => (Some(level), nodesize.into()),
        Kind::Data { length } => (None, length),
    };
    let skinny = level.map(|level| Key::new(logical.0, KeyType::METADATA_ITEM, level.into()));
    skinny.into_iter().chain([Key::new(logical.0, KeyType::EXTENT_ITEM, length)])
}

/// How an extent is shared whose item `find` finds.
pub fn sharing(
    logical: Logical,
    kind: Kind,
    nodesize: u32,
    mut find: impl FnMut(Key) -> Result<Option<Vec<u8>>>,
) -> Result<Sharing> {
    for key in keys(logical, kind, nodesize) {
        if let Some(data) = find(key)? {
            let record = Record::parse(key, kind, &data)?;
            let has_full_backref = record.extent.flags.get() & FULL_BACKREF != 0;
            return Ok(Sharing { refs: record.extent.refs.get(), has_full_backref });
        }
    }
    Err(damage(logical, "has no item"))
}

/// Brings the items of an extent up to date. Items that contradict the change, or each other, are an error.
pub fn apply<S: Blocks>(
    root: &mut TreeRoot,
    store: &mut S,
    format: &Format,
    logical: Logical,
    change: &Change,
) -> Result<Fate> {
    let counts = || change.counts.iter().filter(|(_, by)| **by != 0);
    let is_idle = counts().next().is_none();
    if is_idle && (change.new.is_some() || !change.sets_full_backref) {
        return Ok(if change.new.is_some() { Fate::Free } else { Fate::InUse });
    }
    let mut items = match change.new {
        Some(first_key) => {
            let record = Record::new(logical, change.kind, first_key, format);
            Items { record, has_keyed: false, root, store }
        }
        None => Items::read(root, store, logical, change.kind, format.nodesize)?,
    };
    if change.sets_full_backref {
        items.record.extent.flags |= FULL_BACKREF;
    }
    // What goes makes room for what comes.
    for (reference, by) in counts().filter(|(_, by)| **by < 0) {
        items.drop(*reference, by.unsigned_abs())?;
    }
    for (reference, by) in counts().filter(|(_, by)| **by > 0) {
        items.add(*reference, by.unsigned_abs(), format)?;
    }
    items.write(change.new.is_some())
}

impl Record {
    fn new(logical: Logical, kind: Kind, first_key: Key, format: &Format) -> Self {
        let mut extent = ExtentItem::zeroed();
        extent.generation = format.generation.0.into();
        let (key, info) = match kind {
            Kind::Block { level } if !format.is_skinny => {
                let info = TreeBlockInfo { key: first_key.into(), level };
                (Key::new(logical.0, KeyType::EXTENT_ITEM, format.nodesize.into()), Some(info))
            }
            Kind::Block { level } => (Key::new(logical.0, KeyType::METADATA_ITEM, level.into()), None),
            Kind::Data { length } => (Key::new(logical.0, KeyType::EXTENT_ITEM, length), None),
        };
        extent.flags = flag_of(kind).into();
        Self { key, extent, info, owner: None, refs: Vec::new() }
    }

    fn parse(key: Key, kind: Kind, data: &[u8]) -> Result<Self> {
        let error = |problem| damage(Logical(key.objectid), problem);
        let (extent, mut rest) = ExtentItem::read_prefix(data).ok_or_else(|| error("has an item that is too short"))?;
        let mut info = None;
        if let (Kind::Block { level }, KeyType::EXTENT_ITEM) = (kind, key.key_type) {
            let (found, after) =
                TreeBlockInfo::read_prefix(rest).ok_or_else(|| error("has an item that is too short"))?;
            if found.level != level {
                return Err(error("is of another level"));
            }
            (info, rest) = (Some(*found), after);
        }
        if extent.flags.get() & !FULL_BACKREF != flag_of(kind) {
            return Err(error("has the flags of another kind"));
        }
        let (mut owner, mut refs) = (None, Vec::new());
        for inline_ref in InlineRefs::new(rest) {
            let inline_ref = inline_ref.map_err(|_| error("has an inline reference that makes no sense"))?;
            match (inline_ref, Reference::of_inline(inline_ref)) {
                (_, Some((reference, count))) if goes_with(reference, kind) => refs.push((reference, count)),
                (InlineRef::Owner { root }, _) if owner.is_none() && refs.is_empty() => owner = Some(root),
                _ => return Err(error("has an inline reference that is out of place")),
            }
        }
        if refs.windows(2).any(|pair| rank(pair[0].0) > rank(pair[1].0) || pair[0].0 == pair[1].0) {
            return Err(error("has inline references out of order"));
        }
        let inline = refs.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        if extent.refs.get() < inline || extent.refs.get() == 0 {
            return Err(error("has fewer references than are listed"));
        }
        Ok(Self { key, extent: *extent, info, owner, refs })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut data = self.extent.as_bytes().to_vec();
        self.info.iter().for_each(|info| data.extend_from_slice(info.as_bytes()));
        if let Some(root) = self.owner {
            put_number(&mut data, KeyType::EXTENT_OWNER_REF, root);
        }
        for (reference, count) in &self.refs {
            put_inline(&mut data, *reference, *count);
        }
        data
    }

    /// Puts a reference that is not there in its place.
    fn insert(&mut self, reference: Reference, count: u64) {
        let slot = self.refs.partition_point(|(other, _)| rank(*other) <= rank(reference));
        self.refs.insert(slot, (reference, count));
    }
}

/// The items of an extent in their tree.
struct Items<'e, S> {
    record: Record,
    /// Whether there are references with items of their own.
    has_keyed: bool,
    root: &'e mut TreeRoot,
    store: &'e mut S,
}

impl<'e, S: Blocks> Items<'e, S> {
    fn read(root: &'e mut TreeRoot, store: &'e mut S, logical: Logical, kind: Kind, nodesize: u32) -> Result<Self> {
        for key in keys(logical, kind, nodesize) {
            let Some(cursor) = Cursor::at(root, store, key)? else { continue };
            let record = Record::parse(key, kind, cursor.item()?.data)?;
            let has_keyed = is_before_keyed(cursor, logical)?;
            return Ok(Self { record, has_keyed, root, store });
        }
        Err(damage(logical, "has no item"))
    }

    fn editor(&mut self) -> Editor<'_, S> {
        Editor::new(self.root, self.store)
    }

    fn logical(&self) -> Logical {
        Logical(self.record.key.objectid)
    }

    /// An error about a reference.
    fn error(&self, reference: Reference, problem: &str) -> crate::error::Error {
        damage(self.logical(), &format!("{problem} of {reference}"))
    }

    fn drop(&mut self, reference: Reference, by: u64) -> Result<()> {
        let too_few = |items: &Self| items.error(reference, "has too few references");
        let left = |count: u64| count.checked_sub(by);
        if let Some(slot) = self.record.refs.iter().position(|(other, _)| *other == reference) {
            match left(self.record.refs[slot].1) {
                Some(0) => drop(self.record.refs.remove(slot)),
                Some(left) => self.record.refs[slot].1 = left,
                None => return Err(too_few(self)),
            }
        } else {
            let found = if self.has_keyed { self.find_keyed(reference)? } else { None };
            let (key, count) = found.ok_or_else(|| self.error(reference, "has no reference"))?;
            match left(count) {
                Some(0) => {
                    self.editor().delete(key)?;
                    let cursor = Cursor::at(self.root, self.store, self.record.key)?;
                    self.has_keyed = cursor.map_or(Ok(false), |cursor| is_before_keyed(cursor, self.logical()))?;
                }
                Some(left) => self.editor().replace(key, &keyed_data(reference, left))?,
                None => return Err(too_few(self)),
            }
        }
        let refs = self.record.extent.refs.get().checked_sub(by).ok_or_else(|| too_few(self))?;
        self.record.extent.refs = refs.into();
        Ok(())
    }

    fn add(&mut self, reference: Reference, by: u64, format: &Format) -> Result<()> {
        let more = |items: &Self, count: u64| {
            // A tree or a node refers to a block once.
            let most = if is_counted(reference) { u32::MAX.into() } else { 1 };
            let count = count.checked_add(by).filter(|count| *count <= most);
            count.ok_or_else(|| items.error(reference, "has too many references"))
        };
        let refs = self.record.extent.refs.get().checked_add(by);
        self.record.extent.refs = refs.ok_or_else(|| self.error(reference, "has too many references"))?.into();
        if let Some(slot) = self.record.refs.iter().position(|(other, _)| *other == reference) {
            self.record.refs[slot].1 = more(self, self.record.refs[slot].1)?;
            return Ok(());
        }
        let found = if self.has_keyed { self.find_keyed(reference)? } else { None };
        if let Some((key, count)) = found {
            let count = more(self, count)?;
            return self.editor().replace(key, &keyed_data(reference, count));
        }
        let count = more(self, 0)?;
        if !self.has_keyed && self.record.to_bytes().len() + inline_size(reference) < largest_item(format.nodesize) {
            self.record.insert(reference, count);
            return Ok(());
        }
        let key = self.free_key(reference)?;
        self.editor().insert(key, &keyed_data(reference, count))?;
        self.has_keyed = true;
        Ok(())
    }

    /// The key and the count of a reference that has an item.
    fn find_keyed(&self, reference: Reference) -> Result<Option<(Key, u64)>> {
        let first = keyed_key(self.logical(), reference);
        let Some(mut cursor) = Cursor::at_or_after(self.root, self.store, first)? else { return Ok(None) };
        loop {
            let item = cursor.item()?;
            if !may_be_at(reference, first, item.key) {
                return Ok(None);
            }
            let error = || self.error(reference, "has a malformed item");
            let (found, count) = keyed_reference(item.key, item.data).ok_or_else(error)?;
            if found == reference {
                return Ok(Some((item.key, count)));
            }
            if !cursor.to_next()? {
                return Ok(None);
            }
        }
    }

    /// The first free key for a reference that has no item.
    fn free_key(&self, reference: Reference) -> Result<Key> {
        let first = keyed_key(self.logical(), reference);
        let mut free = first;
        let mut cursor = Cursor::at_or_after(self.root, self.store, first)?;
        while let Some(at) = &mut cursor {
            if at.item()?.key != free {
                break;
            }
            free.offset = free.offset.wrapping_add(1);
            if !at.to_next()? {
                break;
            }
        }
        match may_be_at(reference, first, free) {
            true => Ok(free),
            false => Err(self.error(reference, "has no key left for a reference")),
        }
    }

    fn write(mut self, is_new: bool) -> Result<Fate> {
        let Record { key, extent, refs, .. } = &self.record;
        let (key, logical) = (*key, self.logical());
        let is_listed = !refs.is_empty() || self.has_keyed;
        match (extent.refs.get(), is_listed) {
            (0, false) if is_new => Ok(Fate::Free),
            (0, false) => self.editor().delete(key).map(|()| Fate::Free),
            (1.., true) => {
                let data = self.record.to_bytes();
                match is_new {
                    true => self.editor().insert(key, &data)?,
                    false => self.editor().replace(key, &data)?,
                }
                Ok(Fate::InUse)
            }
            _ => Err(damage(logical, "does not count the references that are listed")),
        }
    }
}

fn flag_of(kind: Kind) -> u64 {
    match kind {
        Kind::Block { .. } => TREE_BLOCK,
        Kind::Data { .. } => DATA,
    }
}

fn goes_with(reference: Reference, kind: Kind) -> bool {
    is_counted(reference) == matches!(kind, Kind::Data { .. })
}

/// Whether a reference has a count: those to data have.
fn is_counted(reference: Reference) -> bool {
    matches!(reference, Reference::File { .. } | Reference::Leaf { .. })
}

/// The place of an inline reference.
fn rank(reference: Reference) -> (KeyType, Reverse<u64>) {
    let Key { key_type, offset, .. } = keyed_key(Logical(0), reference);
    (key_type, Reverse(offset))
}

/// The key of a reference's item; the first one of a file's.
fn keyed_key(extent: Logical, reference: Reference) -> Key {
    let (key_type, offset) = match reference {
        Reference::Tree { root } => (KeyType::TREE_BLOCK_REF, root),
        Reference::Node { parent } => (KeyType::SHARED_BLOCK_REF, parent.0),
        Reference::File { root, objectid, offset } => {
            (KeyType::EXTENT_DATA_REF, hash::extent_data_ref(root, objectid, offset))
        }
        Reference::Leaf { parent } => (KeyType::SHARED_DATA_REF, parent.0),
    };
    Key::new(extent.0, key_type, offset)
}

/// Whether a reference whose first key is `first` may have this one: hashes collide.
fn may_be_at(reference: Reference, first: Key, key: Key) -> bool {
    let collisions = if let Reference::File { .. } = reference { hash::MAX_COLLISIONS } else { 1 };
    (key.objectid, key.key_type) == (first.objectid, first.key_type)
        && key.offset.checked_sub(first.offset).is_some_and(|distance| distance < collisions)
}

/// Whether a reference follows the item of an extent.
fn is_before_keyed<S: Blocks>(mut cursor: Cursor<'_, S>, extent: Logical) -> Result<bool> {
    let is_keyed = |key: Key| key.objectid == extent.0 && key.key_type < KeyType::BLOCK_GROUP_ITEM;
    Ok(cursor.to_next()? && is_keyed(cursor.item()?.key))
}

/// What the item of a reference says; nothing if it is none.
fn keyed_reference(key: Key, data: &[u8]) -> Option<(Reference, u64)> {
    match key.key_type {
        KeyType::TREE_BLOCK_REF => Some((Reference::Tree { root: key.offset }, 1)),
        KeyType::SHARED_BLOCK_REF => Some((Reference::Node { parent: Logical(key.offset) }, 1)),
        KeyType::EXTENT_DATA_REF => {
            let (data_ref, _) = ExtentDataRef::read_prefix(data)?;
            Some((Reference::of_file(data_ref), data_ref.count.get().into()))
        }
        KeyType::SHARED_DATA_REF => {
            let (shared, _) = SharedDataRef::read_prefix(data)?;
            Some((Reference::Leaf { parent: Logical(key.offset) }, shared.count.get().into()))
        }
        _ => None,
    }
}

fn file_ref(root: u64, objectid: u64, offset: u64, count: u64) -> ExtentDataRef {
    ExtentDataRef { root: root.into(), objectid: objectid.into(), offset: offset.into(), count: (count as u32).into() }
}

/// The data of a reference's item.
fn keyed_data(reference: Reference, count: u64) -> Vec<u8> {
    match reference {
        Reference::Tree { .. } | Reference::Node { .. } => Vec::new(),
        Reference::File { root, objectid, offset } => file_ref(root, objectid, offset, count).as_bytes().to_vec(),
        Reference::Leaf { .. } => SharedDataRef { count: (count as u32).into() }.as_bytes().to_vec(),
    }
}

fn put_number(data: &mut Vec<u8>, key_type: KeyType, number: u64) {
    data.push(key_type.0);
    data.extend_from_slice(&number.to_le_bytes());
}

fn put_inline(data: &mut Vec<u8>, reference: Reference, count: u64) {
    let Key { key_type, offset, .. } = keyed_key(Logical(0), reference);
    match reference {
        Reference::File { .. } => data.push(key_type.0),
        _ => put_number(data, key_type, offset),
    }
    data.extend_from_slice(&keyed_data(reference, count));
}

fn inline_size(reference: Reference) -> usize {
    let mut data = Vec::new();
    put_inline(&mut data, reference, 1);
    data.len()
}

/// An extent's item stays below this size (`BTRFS_MAX_EXTENT_ITEM_SIZE` in fs/btrfs/ctree.h).
fn largest_item(nodesize: u32) -> usize {
    (leaf_data_size(nodesize) as usize / 16).saturating_sub(size_of::<Item>())
}
