//! Damage that knows what it damages.

use std::mem::offset_of;

use rbtrfs::disk::node::{HEADER_SIZE, Header, Item, KeyPtr};
use rbtrfs::disk::root::RootItem;
use rbtrfs::disk::{KeyType, objectid};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::random::Random;

/// Makes damage; the same for the same random numbers.
pub struct Mutator<'a> {
    pub random: Random,
    /// Numbers that mean something, such as the addresses of blocks.
    pub values: &'a [u64],
}

impl Mutator<'_> {
    /// A number that is likely to matter: at a boundary, known, or small.
    fn value(&mut self) -> u64 {
        match self.random.below(8) {
            0 => 0,
            1 => u64::MAX - self.random.below(4) as u64,
            2 => 1 << self.random.below(64),
            3 => (1_u64 << self.random.below(64)) - 1,
            4 if !self.values.is_empty() => *self.random.pick(self.values),
            5 => *self.random.pick(&[objectid::FREE_SPACE, objectid::BALANCE, objectid::CSUM_CHANGE, objectid::ORPHAN]),
            6 => self.random.next(),
            _ => self.random.below(300) as u64,
        }
    }

    /// One change to these bytes.
    pub fn bytes(&mut self, bytes: &mut [u8]) {
        if bytes.is_empty() {
            return;
        }
        let at = self.random.below(bytes.len());
        let rest = &mut bytes[at..];
        match self.random.below(7) {
            0 => rest[0] ^= 1 << self.random.below(8),
            1 => rest[0] = self.random.next() as u8,
            2 | 3 => {
                let width = rest.len().min(1 << self.random.below(4));
                rest[..width].copy_from_slice(&self.value().to_le_bytes()[..width]);
            }
            4 => {
                let width = rest.len().min(8);
                let mut number = [0; 8];
                number[..width].copy_from_slice(&rest[..width]);
                let step = self.random.below(33) as u64;
                let number = u64::from_le_bytes(number).wrapping_add(step).wrapping_sub(16);
                rest[..width].copy_from_slice(&number.to_le_bytes()[..width]);
            }
            5 => {
                let length = self.random.few(64).min(rest.len());
                let byte = *self.random.pick(&[0, 0xff, b'a', 0x80]);
                rest[..length].fill(byte);
            }
            _ => {
                let length = self.random.few(64).min(rest.len());
                let from = self.random.below(bytes.len() - length + 1);
                bytes.copy_within(from..from + length, at);
            }
        }
    }

    /// Some changes to a tree block: its header, item headers or pointers, and data.
    pub fn block(&mut self, block: &mut [u8]) {
        for _ in 0..self.random.few(6) {
            let (header, body) = block.split_at_mut(HEADER_SIZE);
            let header = Header::mut_from_bytes(header).expect("the length is that of a header");
            match self.random.below(10) {
                0 if self.random.one_in(4) => header.nritems = (self.value() as u32).into(),
                1 if self.random.one_in(8) => header.level = self.value() as u8,
                2 if self.random.one_in(4) => self.bytes(header.as_mut_bytes()),
                3 => self.bytes(body),
                _ if header.level == 0 => self.leaf(header.nritems.get(), body),
                _ => self.node(header.nritems.get(), body),
            }
        }
    }

    fn leaf(&mut self, nritems: u32, body: &mut [u8]) {
        let fits = (body.len() / size_of::<Item>()).min(nritems as usize);
        let Ok((items, _)) = <[Item]>::mut_from_prefix_with_elems(body, fits) else { return };
        if items.is_empty() {
            return;
        }
        let (slot, other) = (self.random.below(fits), self.random.below(fits));
        let item = &mut items[slot];
        match self.random.below(9) {
            0 => item.key.r#type = self.key_type().0,
            1 => item.key.objectid = self.value().into(),
            2 => item.key.offset = self.value().into(),
            3 => item.offset = (self.value() as u32).into(),
            4 => {
                let size = item.size.get().wrapping_add(self.random.below(64) as u32).wrapping_sub(32);
                item.size = if self.random.one_in(4) { self.value() as u32 } else { size }.into();
            }
            5 => items.swap(slot, other),
            6 if item.key.r#type == KeyType::ROOT_ITEM.0 && !self.values.is_empty() => {
                // Another block as the root of this tree.
                let offset = item.offset.get() as usize + offset_of!(RootItem, bytenr);
                if let Some(bytenr) = body.get_mut(offset..).and_then(|rest| rest.get_mut(..8)) {
                    bytenr.copy_from_slice(&self.random.pick(self.values).to_le_bytes());
                }
            }
            _ => {
                let (offset, size) = (item.offset.get() as usize, item.size.get() as usize);
                if let Some(data) = body.get_mut(offset..).and_then(|rest| rest.get_mut(..size)) {
                    self.bytes(data);
                }
            }
        }
    }

    fn node(&mut self, nritems: u32, body: &mut [u8]) {
        let fits = (body.len() / size_of::<KeyPtr>()).min(nritems as usize);
        let Ok((ptrs, _)) = <[KeyPtr]>::mut_from_prefix_with_elems(body, fits) else { return };
        if ptrs.is_empty() {
            return;
        }
        let (slot, other) = (self.random.below(fits), self.random.below(fits));
        match self.random.below(4) {
            0 => ptrs[slot].blockptr = self.value().into(),
            1 if !self.values.is_empty() => ptrs[slot].blockptr = (*self.random.pick(self.values)).into(),
            2 => ptrs.swap(slot, other),
            _ => self.bytes(ptrs[slot].as_mut_bytes()),
        }
    }

    fn key_type(&mut self) -> KeyType {
        let any = KeyType(self.random.next() as u8);
        (0..=u8::MAX).cycle().skip(any.0.into()).map(KeyType).find(|next| next.name().is_some()).unwrap_or(any)
    }

    /// A leaf of items of all types, whose data need not be what their types say.
    pub fn new_leaf(&mut self, block: &mut [u8]) {
        block[HEADER_SIZE..].fill(0);
        let (mut front, mut end) = (HEADER_SIZE, block.len());
        let mut nritems = 0_u32;
        for _ in 0..self.random.few(40) {
            let size = match self.random.below(3) {
                0 => self.random.below(48),
                1 => *self.random.pick(&[8, 18, 24, 30, 33, 40, 48, 53, 72, 80, 98, 112, 136, 160, 239, 439, 448, 456]),
                _ => self.random.below(600),
            };
            if front + size_of::<Item>() + size > end {
                break;
            }
            end -= size;
            for _ in 0..self.random.few(16) {
                self.bytes(&mut block[end..end + size]);
            }
            let mut item = Item::new_zeroed();
            item.key.objectid = self.value().into();
            item.key.r#type = self.key_type().0;
            item.key.offset = self.value().into();
            item.offset = ((end - HEADER_SIZE) as u32).into();
            item.size = (size as u32).into();
            block[front..][..size_of::<Item>()].copy_from_slice(item.as_bytes());
            front += size_of::<Item>();
            nritems += 1;
        }
        let header = Header::mut_from_bytes(&mut block[..HEADER_SIZE]).expect("the length is that of a header");
        header.level = 0;
        header.nritems = nritems.into();
    }
}
