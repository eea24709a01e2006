//! Tree blocks as bytes: views of leaves and nodes, and their verification.
//!
//! A view never panics: what a damaged block says is cut to what is there.

pub mod decompress;
pub mod edit;
pub mod extent_item;
pub mod item;
pub mod reference;
pub mod verify;

use crate::disk::node::{HEADER_SIZE, Header, Item, KeyPtr, leaf_data_size, node_ptrs};
use crate::disk::{Key, Logical, Transid};

/// The bytes of a tree block, at least as long as a header.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    bytes: &'a [u8],
    header: &'a Header,
}

/// What a block is, by the level in its header.
#[derive(Clone, Copy)]
pub enum BlockKind<'a> {
    /// Level 0: items.
    Leaf(Leaf<'a>),
    /// Any other level: pointers.
    Node(Node<'a>),
}

impl<'a> Block<'a> {
    /// A view of `bytes`; nothing if they are too few for a header.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let (header, _) = Header::read_prefix(bytes)?;
        Some(Self { bytes, header })
    }

    /// All bytes of the block.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The header, as it stands there.
    pub fn header(&self) -> &'a Header {
        self.header
    }

    /// The logical address in the header.
    pub fn logical(&self) -> Logical {
        self.header.bytenr.into()
    }

    /// The generation in the header.
    pub fn generation(&self) -> Transid {
        self.header.generation.into()
    }

    /// The level in the header.
    pub fn level(&self) -> u8 {
        self.header.level
    }

    /// The number of items or pointers that the header claims.
    pub fn nritems(&self) -> u32 {
        self.header.nritems.get()
    }

    /// The block as a leaf or a node.
    pub fn kind(&self) -> BlockKind<'a> {
        match self.level() {
            0 => BlockKind::Leaf(Leaf { block: *self }),
            _ => BlockKind::Node(Node { block: *self }),
        }
    }

    /// The first key; nothing if the block is empty.
    pub fn first_key(&self) -> Option<Key> {
        self.key(0)
    }

    /// The last key; nothing if the block is empty.
    pub fn last_key(&self) -> Option<Key> {
        self.key(self.count().checked_sub(1)?)
    }

    /// The key at `slot`, if there is one.
    pub fn key(&self, slot: usize) -> Option<Key> {
        match self.kind() {
            BlockKind::Leaf(leaf) => leaf.headers().get(slot).map(|item| Key::from(&item.key)),
            BlockKind::Node(node) => node.ptrs().get(slot).map(|ptr| Key::from(&ptr.key)),
        }
    }

    /// The slot of the first key that is not below `key`, which is the number of elements where there is none.
    pub fn slot_of(&self, key: Key) -> usize {
        match self.kind() {
            BlockKind::Leaf(leaf) => leaf.headers().partition_point(|item| Key::from(&item.key) < key),
            BlockKind::Node(node) => node.ptrs().partition_point(|ptr| Key::from(&ptr.key) < key),
        }
    }

    /// The number of items or pointers that are there: those that are claimed, or as many of them as fit.
    pub fn count(&self) -> usize {
        match self.kind() {
            BlockKind::Leaf(leaf) => leaf.headers().len(),
            BlockKind::Node(node) => node.ptrs().len(),
        }
    }

    /// Bytes that the elements before `slot` take: pointers, or item headers and their data.
    pub fn used_before(&self, slot: usize) -> usize {
        match self.kind() {
            BlockKind::Leaf(leaf) => {
                let data_size = leaf.data_size() as usize;
                let last = slot.checked_sub(1).and_then(|last| leaf.headers().get(last));
                let data_start = last.map_or(data_size, |item| item.offset.get() as usize);
                slot * size_of::<Item>() + data_size.saturating_sub(data_start)
            }
            BlockKind::Node(_) => slot * size_of::<KeyPtr>(),
        }
    }

    /// Bytes that all elements take.
    pub fn used(&self) -> usize {
        self.used_before(self.count())
    }

    /// Bytes that elements may take.
    pub fn capacity(&self) -> usize {
        match self.kind() {
            BlockKind::Leaf(leaf) => leaf.data_size() as usize,
            BlockKind::Node(node) => node.capacity() as usize * size_of::<KeyPtr>(),
        }
    }

    /// Bytes that further elements may take.
    pub fn room(&self) -> usize {
        self.capacity().saturating_sub(self.used())
    }

    fn body(&self) -> &'a [u8] {
        &self.bytes[HEADER_SIZE..]
    }

    fn nodesize(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// The claimed elements, or as many of them as fit.
    fn elements<T>(&self) -> &'a [T]
    where
        T: zerocopy::FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
    {
        let fits = self.body().len() / size_of::<T>();
        let count = fits.min(self.nritems() as usize);
        <[T] as zerocopy::FromBytes>::ref_from_prefix_with_elems(self.body(), count)
            .map_or(&[], |(elements, _)| elements)
    }
}

/// A block of level 0: items.
#[derive(Clone, Copy)]
pub struct Leaf<'a> {
    block: Block<'a>,
}

/// An item of a leaf.
#[derive(Clone, Copy)]
pub struct ItemRef<'a> {
    /// Slot in the leaf, from 0.
    pub slot: u32,
    /// Key of the item.
    pub key: Key,
    /// Where the data begins, in bytes past the header.
    pub offset: u32,
    /// Its data.
    pub data: &'a [u8],
}

/// An item whose data does not lie within its leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadItem {
    /// Slot in the leaf, from 0.
    pub slot: u32,
    /// First byte of the data, from the end of the header.
    pub offset: u32,
    /// Bytes of the data.
    pub size: u32,
}

impl<'a> Leaf<'a> {
    /// The block that is viewed.
    pub fn block(&self) -> Block<'a> {
        self.block
    }

    /// Keys, offsets and sizes of the items, as many as fit into the block.
    pub fn headers(&self) -> &'a [Item] {
        self.block.elements()
    }

    /// The items in order; one whose data would lie outside of the leaf is an error.
    pub fn items(&self) -> impl Iterator<Item = Result<ItemRef<'a>, BadItem>> + use<'a> {
        let leaf = *self;
        self.headers().iter().enumerate().map(move |(slot, header)| leaf.read_item(slot, header))
    }

    /// The item at `slot`; nothing if there is none, or if its data would lie outside of the leaf.
    pub fn item(&self, slot: usize) -> Option<ItemRef<'a>> {
        self.read_item(slot, self.headers().get(slot)?).ok()
    }

    fn read_item(&self, slot: usize, header: &Item) -> Result<ItemRef<'a>, BadItem> {
        let (slot, offset, size) = (slot as u32, header.offset.get(), header.size.get());
        match self.block.body().get(offset as usize..).and_then(|rest| rest.get(..size as usize)) {
            Some(data) => Ok(ItemRef { slot, key: Key::from(&header.key), offset, data }),
            None => Err(BadItem { slot, offset, size }),
        }
    }

    /// Bytes for items and their data.
    pub fn data_size(&self) -> u32 {
        leaf_data_size(self.block.nodesize())
    }

    /// Bytes between the item headers and the data; negative where the header claims more items than fit.
    pub fn free_space(&self) -> i64 {
        let headers = i64::from(self.block.nritems()) * size_of::<Item>() as i64;
        let data_start = match self.block.nritems() {
            0 => self.data_size(),
            count => self.headers().get(count as usize - 1).map_or(0, |last| last.offset.get()),
        };
        i64::from(data_start) - headers
    }
}

/// A block above level 0: pointers to blocks of the level below.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    block: Block<'a>,
}

impl<'a> Node<'a> {
    /// The block that is viewed.
    pub fn block(&self) -> Block<'a> {
        self.block
    }

    /// The pointers, as many as fit into the block.
    pub fn ptrs(&self) -> &'a [KeyPtr] {
        self.block.elements()
    }

    /// Pointers that fit into the block.
    pub fn capacity(&self) -> u32 {
        node_ptrs(self.block.nodesize())
    }
}
