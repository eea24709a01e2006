//! Changing the items of a leaf.

use std::ops::Range;

use crate::disk::Key;
use crate::disk::node::{Header, Item};

use super::slots::{EditError, check_order, check_slots, elements, elements_mut, split_header};

const ITEM: usize = size_of::<Item>();

/// An item to be inserted.
#[derive(Clone, Copy, Debug)]
pub struct NewItem<'d> {
    /// Key of the item.
    pub key: Key,
    /// Its data.
    pub data: &'d [u8],
}

impl NewItem<'_> {
    /// Bytes that it takes in a leaf.
    pub fn space(&self) -> usize {
        self.data.len().saturating_add(ITEM)
    }
}

/// A leaf that may be changed.
pub struct LeafMut<'a> {
    header: &'a mut Header,
    /// What follows the header. The headers of `count` items end at or before `data_start`, which lies within it.
    body: &'a mut [u8],
    count: usize,
    data_start: usize,
}

impl<'a> LeafMut<'a> {
    /// A leaf in `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Result<Self, EditError> {
        let (header, body) = split_header(bytes)?;
        if header.level != 0 {
            return Err(EditError::Malformed("level"));
        }
        let count = header.nritems.get() as usize;
        if count > body.len() / ITEM {
            return Err(EditError::Malformed("more elements than fit"));
        }
        let mut leaf = Self { header, body, count, data_start: 0 };
        leaf.data_start = leaf.data_end(count);
        if leaf.data_start < count * ITEM || leaf.data_start > leaf.body.len() {
            return Err(EditError::Malformed("item data overlaps item headers"));
        }
        Ok(leaf)
    }

    /// Number of items.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes for further items and their data.
    pub fn room(&self) -> usize {
        self.data_start - self.count * ITEM
    }

    /// Key of the item at `slot`.
    pub fn key(&self, slot: usize) -> Option<Key> {
        self.items().get(slot).map(|item| Key::from(&item.key))
    }

    /// The data of an item, to be overwritten.
    pub fn data_mut(self, slot: usize) -> Result<&'a mut [u8], EditError> {
        let data = self.data(slot)?;
        self.body.get_mut(data).ok_or(EditError::Malformed("item data is not packed"))
    }

    /// Inserts items, whose keys ascend and lie between those of their neighbours.
    pub fn insert(&mut self, slot: usize, new: &[NewItem<'_>]) -> Result<(), EditError> {
        let size = new.iter().fold(0, |size: usize, item| size.saturating_add(item.data.len()));
        self.check_place(slot, new.iter().map(|item| item.key))?;
        let mut end = self.open(slot, new.len(), size)?;
        for (index, item) in new.iter().enumerate() {
            let start = end - item.data.len();
            self.body[start..end].copy_from_slice(item.data);
            let (offset, size) = ((start as u32).into(), (item.data.len() as u32).into());
            self.items_mut()[slot + index] = Item { key: item.key.into(), offset, size };
            end = start;
        }
        Ok(())
    }

    /// Deletes the items at `slots`.
    pub fn remove(&mut self, slots: Range<usize>) -> Result<(), EditError> {
        check_slots(&slots, self.count)?;
        let (start, end) = (self.data_end(slots.end), self.data_end(slots.start));
        self.body.copy_within(slots.end * ITEM..self.count * ITEM, slots.start * ITEM);
        let count = self.count - slots.len();
        self.body[count * ITEM..self.count * ITEM].fill(0);
        self.set_count(count);
        self.close(slots.start, start..end)
    }

    /// Gives an item another size: it loses bytes at its end, or gains zeroes there.
    pub fn resize(&mut self, slot: usize, size: usize) -> Result<(), EditError> {
        let data = self.data(slot)?;
        if let Some(growth) = size.checked_sub(data.len()) {
            self.shift_down(slot, data.end, growth)?;
            self.body[data.end - growth..data.end].fill(0);
        } else {
            self.close(slot, data.start + size..data.end)?;
        }
        self.set_size(slot, size);
        Ok(())
    }

    /// Takes `count` bytes from the beginning of an item.
    pub fn cut_front(&mut self, slot: usize, count: usize) -> Result<(), EditError> {
        let data = self.data(slot)?;
        let size = data.len().checked_sub(count).ok_or(EditError::ItemTooSmall { count, size: data.len() })?;
        self.close(slot, data.start..data.start + count)?;
        self.set_size(slot, size);
        Ok(())
    }

    /// Gives an item another key between those of its neighbours.
    pub fn set_key(&mut self, slot: usize, key: Key) -> Result<(), EditError> {
        let (before, after) = (slot.checked_sub(1).and_then(|slot| self.key(slot)), self.key(slot.saturating_add(1)));
        let count = self.count;
        let item = self.items_mut().get_mut(slot).ok_or(EditError::NoSlot { slot, count })?;
        check_order(before, [key].into_iter(), after)?;
        item.key = key.into();
        Ok(())
    }

    /// Moves the items at `slots` of `from` to `slot`.
    pub fn take(&mut self, slot: usize, from: &mut LeafMut<'_>, slots: Range<usize>) -> Result<(), EditError> {
        check_slots(&slots, from.count)?;
        let moved = &from.items()[slots.clone()];
        let (from_start, from_end) = (from.data_end(slots.end), from.data_end(slots.start));
        let data = from.body.get(from_start..from_end).ok_or(EditError::Malformed("item data is not packed"))?;
        self.check_place(slot, moved.iter().map(|item| Key::from(&item.key)))?;
        let end = self.open(slot, moved.len(), data.len())?;
        let start = end - data.len();
        self.body[start..end].copy_from_slice(data);
        for (to, item) in self.items_mut()[slot..].iter_mut().zip(moved) {
            let inside = (item.offset.get() as usize).checked_sub(from_start);
            let inside = inside.filter(|inside| *inside <= data.len());
            let offset = start + inside.ok_or(EditError::Malformed("item data is not packed"))?;
            *to = Item { offset: (offset as u32).into(), ..*item };
        }
        from.remove(slots)
    }

    pub(super) fn clear_unused(&mut self) {
        self.body[self.count * ITEM..self.data_start].fill(0);
    }

    fn items(&self) -> &[Item] {
        elements(self.body, self.count)
    }

    fn items_mut(&mut self) -> &mut [Item] {
        elements_mut(self.body, self.count)
    }

    /// Where the data of the item at `slot` ends, or would end: where that of the item before begins.
    fn data_end(&self, slot: usize) -> usize {
        let before = slot.checked_sub(1).and_then(|before| self.items().get(before));
        before.map_or(self.body.len(), |item| item.offset.get() as usize)
    }

    /// Where the data of an item lies.
    fn data(&self, slot: usize) -> Result<Range<usize>, EditError> {
        let item = self.items().get(slot).ok_or(EditError::NoSlot { slot, count: self.count })?;
        let (start, end) = (item.offset.get() as usize, self.data_end(slot));
        match start >= self.data_start
            && end <= self.body.len()
            && end.checked_sub(start) == Some(item.size.get() as usize)
        {
            true => Ok(start..end),
            false => Err(EditError::Malformed("item data is not packed")),
        }
    }

    fn check_place(&self, slot: usize, keys: impl Iterator<Item = Key>) -> Result<(), EditError> {
        check_order(slot.checked_sub(1).and_then(|before| self.key(before)), keys, self.key(slot))
    }

    fn set_count(&mut self, count: usize) {
        self.count = count;
        self.header.nritems = (count as u32).into();
    }

    fn set_size(&mut self, slot: usize, size: usize) {
        if let Some(item) = self.items_mut().get_mut(slot) {
            item.size = (size as u32).into();
        }
    }

    /// Makes room for `count` items and `size` bytes of data before those at `slot`, and returns where that data ends.
    /// What stands in the room is undefined.
    fn open(&mut self, slot: usize, count: usize, size: usize) -> Result<usize, EditError> {
        check_slots(&(slot..slot), self.count)?;
        let need = count.saturating_mul(ITEM).saturating_add(size);
        if need > self.room() {
            return Err(EditError::NoRoom { need, room: self.room() });
        }
        let end = self.data_end(slot);
        self.shift_down(slot, end, size)?;
        self.body.copy_within(slot * ITEM..self.count * ITEM, (slot + count) * ITEM);
        self.set_count(self.count + count);
        Ok(end)
    }

    /// Moves the data before `end`, that of the items from `slot` on, down by `size` bytes.
    fn shift_down(&mut self, slot: usize, end: usize, size: usize) -> Result<(), EditError> {
        let room = self.room();
        if size > room {
            return Err(EditError::NoRoom { need: size, room });
        }
        if end < self.data_start || end > self.body.len() {
            return Err(EditError::Malformed("item data is not packed"));
        }
        self.body.copy_within(self.data_start..end, self.data_start - size);
        self.data_start -= size;
        for item in &mut self.items_mut()[slot..] {
            let offset = item.offset.get().checked_sub(size as u32);
            item.offset = offset.ok_or(EditError::Malformed("item data is not packed"))?.into();
        }
        Ok(())
    }

    /// Takes the bytes `hole` out of the data; the data below it, that of the items from `slot` on, moves up.
    fn close(&mut self, slot: usize, hole: Range<usize>) -> Result<(), EditError> {
        if hole.start < self.data_start || hole.start > hole.end || hole.end > self.body.len() {
            return Err(EditError::Malformed("item data is not packed"));
        }
        let size = hole.len();
        self.body.copy_within(self.data_start..hole.start, self.data_start + size);
        self.body[self.data_start..self.data_start + size].fill(0);
        self.data_start += size;
        for item in &mut self.items_mut()[slot..] {
            item.offset = item.offset.get().wrapping_add(size as u32).into();
        }
        Ok(())
    }
}
