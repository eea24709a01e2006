//! The items of a tree that a check compares, and where the tree could not be read.

use crate::block::Leaf;
use crate::disk::{Key, KeyType};
use crate::tree::{BlockPlace, Entered, Scan, Tree, TreeRoot, Visit, Visitor, walk};
use crate::volume::{BadCopy, Volume};

/// An item of a tree.
pub struct Item {
    /// Its key.
    pub key: Key,
    /// Its data.
    pub data: Box<[u8]>,
}

/// Some items of a tree, sorted. What stands in blocks that cannot be read is unknown, and must not be called missing.
#[derive(Default)]
pub struct Items {
    items: Vec<Item>,
    /// First key of each range that was not read, and the key that ends it, if there is one.
    unread: Vec<(Key, Option<Key>)>,
}

/// Items of one tree as a walk meets them.
#[derive(Default)]
pub struct ItemsPart {
    found: Items,
    /// Whether a block was reached that the walk had visited before.
    is_again: bool,
}

impl ItemsPart {
    /// Takes the wanted items of a leaf.
    pub fn leaf(&mut self, leaf: Leaf<'_>, wanted: impl Fn(Key) -> bool) {
        // Items that overlap would make copies larger than what they are copied from.
        let mut room = leaf.data_size() as usize;
        for (slot, header) in leaf.headers().iter().enumerate() {
            let key = Key::from(&header.key);
            if !wanted(key) {
                continue;
            }
            let data = leaf.item(slot).map(|item| item.data).filter(|data| data.len() <= room);
            match data {
                Some(data) => {
                    room -= data.len();
                    self.found.items.push(Item { key, data: data.into() });
                }
                None => self.found.unread.push((key, successor(key))),
            }
        }
    }

    pub fn unreadable(&mut self, place: &BlockPlace<'_>) {
        self.found.unread.push((place.expected.first_key.unwrap_or(Key::MIN), place.end));
    }

    pub fn again(&mut self, place: &BlockPlace<'_>) {
        self.is_again = true;
        self.unreadable(place);
    }
}

/// Takes the wanted items of one tree.
struct Taker<F>(F);

impl<F: Fn(Key) -> bool + Sync> Visitor for Taker<F> {
    type Part = ItemsPart;

    fn visit(&self, part: &mut ItemsPart, _: &BlockPlace<'_>, visit: Visit<'_>) {
        if let Visit::Leaf(leaf) = visit {
            part.leaf(leaf, &self.0);
        }
    }

    fn unreadable(&self, part: &mut ItemsPart, place: &BlockPlace<'_>, _: Vec<BadCopy>) {
        part.unreadable(place);
    }

    fn again(&self, part: &mut ItemsPart, place: &BlockPlace<'_>) {
        part.again(place);
    }
}

impl Items {
    /// A tree that cannot be read at all.
    pub fn unread() -> Self {
        Self { items: Vec::new(), unread: vec![(Key::MIN, None)] }
    }

    /// The wanted items of the tree with this root.
    pub fn of_tree(volume: &Volume, root: &TreeRoot, wanted: impl Fn(Key) -> bool + Sync) -> Self {
        let mut part = ItemsPart::default();
        walk(volume, &Tree::whole(*root), &mut Entered::default(), &Taker(wanted), &mut part);
        part.found.in_order()
    }

    /// All items of a tree, which a scan is to reach later on.
    pub fn ahead(scan: &Scan<'_>, tree: &Tree) -> Self {
        let mut part = ItemsPart::default();
        scan.walk_ahead(&Tree::whole(tree.root), &Taker(|_| true), &mut part);
        part.found.in_order()
    }

    /// What the threads of a scan have gathered of one tree. Nothing if the order in which its blocks were reached matters.
    pub fn of_parts(parts: impl IntoIterator<Item = ItemsPart>) -> Option<Self> {
        let mut found = Self::default();
        for mut part in parts {
            if part.is_again {
                return None;
            }
            found.items.append(&mut part.found.items);
            found.unread.append(&mut part.found.unread);
        }
        let count = found.items.len();
        Some(found.in_order()).filter(|found| found.items.len() == count)
    }

    fn in_order(mut self) -> Self {
        self.items.sort_by_key(|item| item.key);
        self.items.dedup_by_key(|item| item.key);
        self.merge_unread();
        self
    }

    /// Puts the ranges that were not read in order, apart from each other.
    fn merge_unread(&mut self) {
        let mut ranges = std::mem::take(&mut self.unread);
        ranges.sort_by_key(|(from, _)| *from);
        for (from, to) in ranges {
            match self.unread.last_mut() {
                Some((_, last)) if last.is_none_or(|last| from <= last) => {
                    *last = last.zip(to).map(|(last, to)| last.max(to));
                }
                _ => self.unread.push((from, to)),
            }
        }
    }

    /// The items, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    /// The items of one type, in the order of their keys.
    pub fn of_type(&self, key_type: KeyType) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |item| item.key.key_type == key_type)
    }

    /// The items from `from` to `to`, both included.
    pub fn range(&self, from: Key, to: Key) -> &[Item] {
        let start = self.items.partition_point(|item| item.key < from);
        let end = self.items.partition_point(|item| item.key <= to);
        &self.items[start..end.max(start)]
    }

    /// The data of the item with this key.
    pub fn get(&self, key: Key) -> Option<&[u8]> {
        let index = self.items.binary_search_by_key(&key, |item| item.key).ok()?;
        self.items.get(index).map(|item| &*item.data)
    }

    /// Whether all items from `from` to `to`, both included, are known.
    pub fn covers(&self, from: Key, to: Key) -> bool {
        let after = self.unread.partition_point(|(start, _)| *start <= to);
        let last = after.checked_sub(1).and_then(|index| self.unread.get(index));
        last.is_none_or(|(_, end)| end.is_some_and(|end| end <= from))
    }

    /// Whether it is known that there is no item with this key.
    pub fn lacks(&self, key: Key) -> bool {
        self.get(key).is_none() && self.covers(key, key)
    }
}

/// The least key above this one.
fn successor(key: Key) -> Option<Key> {
    match (key.offset.checked_add(1), key.key_type.0.checked_add(1)) {
        (Some(offset), _) => Some(Key { offset, ..key }),
        (None, Some(key_type)) => Some(Key::new(key.objectid, KeyType(key_type), 0)),
        (None, None) => Some(Key::new(key.objectid.checked_add(1)?, KeyType(0), 0)),
    }
}

/// All keys with this object id.
pub fn keys_of(objectid: u64) -> (Key, Key) {
    (Key::new(objectid, KeyType(0), 0), Key::new(objectid, KeyType(u8::MAX), u64::MAX))
}

/// All keys with this object id and type.
pub fn keys_of_type(objectid: u64, key_type: KeyType) -> (Key, Key) {
    (Key::new(objectid, key_type, 0), Key::new(objectid, key_type, u64::MAX))
}
