//! Bringing the items of an extent up to date: its own, with the references that stand in it, and those of references
//! behind it.

use crate::block::extent_item::{ExtentKind, Format, Record, keys};
use crate::block::reference::Reference;
use crate::disk::flags::extent::FULL_BACKREF;
use crate::disk::{Key, KeyType, Logical, hash};
use crate::error::{ExtentProblem, Result};
use crate::tree::TreeRoot;
use crate::tree::edit::{Blocks, Cursor, Editor};

use super::{DelayedRef, Sharing, damage};

/// What becomes of an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// References are left.
    InUse,
    /// Its last reference went.
    Free,
}

/// How an extent is shared whose item `find` finds.
pub fn sharing(
    logical: Logical,
    kind: ExtentKind,
    nodesize: u32,
    mut find: impl FnMut(Key) -> Result<Option<Vec<u8>>>,
) -> Result<Sharing> {
    for key in keys(logical, kind, nodesize) {
        if let Some(data) = find(key)? {
            let record = Record::parse(key, kind, &data).map_err(|problem| damage(logical, problem))?;
            let has_full_backref = record.extent.flags.get() & FULL_BACKREF != 0;
            return Ok(Sharing { refs: record.extent.refs.get(), has_full_backref });
        }
    }
    Err(damage(logical, ExtentProblem::NoItem))
}

/// Brings the items of an extent up to date. Items that contradict the change, or each other, are an error.
pub fn apply<S: Blocks>(
    root: &mut TreeRoot,
    store: &mut S,
    format: &Format,
    logical: Logical,
    change: &DelayedRef,
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

/// The items of an extent in their tree.
struct Items<'e, S> {
    record: Record,
    /// Whether there are references with items of their own.
    has_keyed: bool,
    root: &'e mut TreeRoot,
    store: &'e mut S,
}

impl<'e, S: Blocks> Items<'e, S> {
    fn read(
        root: &'e mut TreeRoot,
        store: &'e mut S,
        logical: Logical,
        kind: ExtentKind,
        nodesize: u32,
    ) -> Result<Self> {
        for key in keys(logical, kind, nodesize) {
            let Some(cursor) = Cursor::at(root, store, key)? else { continue };
            let record = Record::parse(key, kind, cursor.item()?.data).map_err(|problem| damage(logical, problem))?;
            let has_keyed = is_before_keyed(cursor, logical)?;
            return Ok(Self { record, has_keyed, root, store });
        }
        Err(damage(logical, ExtentProblem::NoItem))
    }

    fn editor(&mut self) -> Editor<'_, S> {
        Editor::new(self.root, self.store)
    }

    fn logical(&self) -> Logical {
        Logical(self.record.key.objectid)
    }

    fn error(&self, problem: ExtentProblem) -> crate::error::Error {
        damage(self.logical(), problem)
    }

    fn drop(&mut self, reference: Reference, by: u64) -> Result<()> {
        let too_few = |items: &Self| items.error(ExtentProblem::TooFewOf { of: reference });
        let left = |count: u64| count.checked_sub(by);
        if let Some(slot) = self.record.refs.iter().position(|(other, _)| *other == reference) {
            match left(self.record.refs[slot].1) {
                Some(0) => drop(self.record.refs.remove(slot)),
                Some(left) => self.record.refs[slot].1 = left,
                None => return Err(too_few(self)),
            }
        } else {
            let found = if self.has_keyed { self.find_keyed(reference)? } else { None };
            let (key, count) = found.ok_or_else(|| self.error(ExtentProblem::NoneOf { of: reference }))?;
            match left(count) {
                Some(0) => {
                    self.editor().delete(key)?;
                    let cursor = Cursor::at(self.root, self.store, self.record.key)?;
                    self.has_keyed = cursor.map_or(Ok(false), |cursor| is_before_keyed(cursor, self.logical()))?;
                }
                Some(left) => self.editor().replace(key, &reference.data(left))?,
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
            let most = if reference.is_counted() { u32::MAX.into() } else { 1 };
            let count = count.checked_add(by).filter(|count| *count <= most);
            count.ok_or_else(|| items.error(ExtentProblem::TooManyOf { of: reference }))
        };
        let refs = self.record.extent.refs.get().checked_add(by);
        self.record.extent.refs = refs.ok_or_else(|| self.error(ExtentProblem::TooManyOf { of: reference }))?.into();
        if let Some(slot) = self.record.refs.iter().position(|(other, _)| *other == reference) {
            self.record.refs[slot].1 = more(self, self.record.refs[slot].1)?;
            return Ok(());
        }
        let found = if self.has_keyed { self.find_keyed(reference)? } else { None };
        if let Some((key, count)) = found {
            let count = more(self, count)?;
            return self.editor().replace(key, &reference.data(count));
        }
        let count = more(self, 0)?;
        if !self.has_keyed && self.record.has_room_for(reference, format.nodesize) {
            self.record.insert(reference, count);
            return Ok(());
        }
        let key = self.free_key(reference)?;
        self.editor().insert(key, &reference.data(count))?;
        self.has_keyed = true;
        Ok(())
    }

    /// The key and the count of a reference that has an item.
    fn find_keyed(&self, reference: Reference) -> Result<Option<(Key, u64)>> {
        let first = reference.key(self.logical());
        let Some(mut cursor) = Cursor::at_or_after(self.root, self.store, first)? else { return Ok(None) };
        loop {
            let item = cursor.item()?;
            if !may_be_at(reference, first, item.key) {
                return Ok(None);
            }
            let error = || self.error(ExtentProblem::BadItemOf { of: reference });
            let (found, count) = Reference::of_item(&item).ok_or_else(error)?;
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
        let first = reference.key(self.logical());
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
            false => Err(self.error(ExtentProblem::NoKeyOf { of: reference })),
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
            _ => Err(damage(logical, ExtentProblem::Unlisted)),
        }
    }
}

/// Whether a reference whose first key is `first` may have this one: hashes collide.
fn may_be_at(reference: Reference, first: Key, key: Key) -> bool {
    let collisions = if let Reference::ExtentData { .. } = reference { hash::MAX_COLLISIONS } else { 1 };
    (key.objectid, key.key_type) == (first.objectid, first.key_type)
        && key.offset.checked_sub(first.offset).is_some_and(|distance| distance < collisions)
}

/// Whether a reference follows the item of an extent.
fn is_before_keyed<S: Blocks>(mut cursor: Cursor<'_, S>, extent: Logical) -> Result<bool> {
    let is_keyed = |key: Key| key.objectid == extent.0 && key.key_type < KeyType::BLOCK_GROUP_ITEM;
    Ok(cursor.to_next()? && is_keyed(cursor.item()?.key))
}
