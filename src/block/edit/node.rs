//! Changing the pointers of a node.

use std::ops::Range;

use crate::disk::node::{Header, KeyPtr, node_ptrs};
use crate::disk::{Key, Logical, Transid};

use super::slots::{EditError, check_order, check_slots, elements, elements_mut, split_header};

const PTR: usize = size_of::<KeyPtr>();

/// A node that may be changed.
pub struct NodeMut<'a> {
    header: &'a mut Header,
    /// What follows the header: `count` pointers, which lie within it.
    body: &'a mut [u8],
    count: usize,
}

impl<'a> NodeMut<'a> {
    /// A node in `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Result<Self, EditError> {
        let nodesize = bytes.len() as u32;
        let (header, body) = split_header(bytes)?;
        if header.level == 0 {
            return Err(EditError::Malformed("level"));
        }
        let count = header.nritems.get() as usize;
        if count > node_ptrs(nodesize) as usize {
            return Err(EditError::Malformed("more elements than fit"));
        }
        Ok(Self { header, body, count })
    }

    /// Number of pointers.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The pointers, in the order of their keys.
    pub fn ptrs(&self) -> &[KeyPtr] {
        elements(self.body, self.count)
    }

    /// Inserts pointers, whose keys ascend and lie between those of their neighbours.
    pub fn insert(&mut self, slot: usize, new: &[KeyPtr]) -> Result<(), EditError> {
        check_slots(&(slot..slot), self.count)?;
        let need = new.len().saturating_mul(PTR);
        let room = (self.body.len() / PTR - self.count) * PTR;
        if need > room {
            return Err(EditError::NoRoom { need, room });
        }
        let before = slot.checked_sub(1).and_then(|before| self.key(before));
        check_order(before, new.iter().map(|ptr| Key::from(&ptr.key)), self.key(slot))?;
        self.body.copy_within(slot * PTR..self.count * PTR, (slot + new.len()) * PTR);
        self.set_count(self.count + new.len());
        self.ptrs_mut()[slot..slot + new.len()].copy_from_slice(new);
        Ok(())
    }

    /// Deletes the pointers at `slots`.
    pub fn remove(&mut self, slots: Range<usize>) -> Result<(), EditError> {
        check_slots(&slots, self.count)?;
        self.body.copy_within(slots.end * PTR..self.count * PTR, slots.start * PTR);
        let count = self.count - slots.len();
        self.body[count * PTR..self.count * PTR].fill(0);
        self.set_count(count);
        Ok(())
    }

    /// Gives a pointer another key between those of its neighbours.
    pub fn set_key(&mut self, slot: usize, key: Key) -> Result<(), EditError> {
        let (before, after) = (slot.checked_sub(1).and_then(|slot| self.key(slot)), self.key(slot.saturating_add(1)));
        let ptr = self.ptr_mut(slot)?;
        check_order(before, [key].into_iter(), after)?;
        ptr.key = key.into();
        Ok(())
    }

    /// Lets a pointer lead elsewhere.
    pub fn set_ptr(&mut self, slot: usize, logical: Logical, generation: Transid) -> Result<(), EditError> {
        let ptr = self.ptr_mut(slot)?;
        ptr.blockptr = logical.0.into();
        ptr.generation = generation.0.into();
        Ok(())
    }

    /// Moves the pointers at `slots` of `from` to `slot`.
    pub fn take(&mut self, slot: usize, from: &mut NodeMut<'_>, slots: Range<usize>) -> Result<(), EditError> {
        check_slots(&slots, from.count)?;
        self.insert(slot, &from.ptrs()[slots.clone()])?;
        from.remove(slots)
    }

    pub(super) fn clear_unused(&mut self) {
        self.body[self.count * PTR..].fill(0);
    }

    fn key(&self, slot: usize) -> Option<Key> {
        self.ptrs().get(slot).map(|ptr| Key::from(&ptr.key))
    }

    fn ptrs_mut(&mut self) -> &mut [KeyPtr] {
        elements_mut(self.body, self.count)
    }

    fn ptr_mut(&mut self, slot: usize) -> Result<&mut KeyPtr, EditError> {
        let count = self.count;
        self.ptrs_mut().get_mut(slot).ok_or(EditError::NoSlot { slot, count })
    }

    fn set_count(&mut self, count: usize) {
        self.count = count;
        self.header.nritems = (count as u32).into();
    }
}
