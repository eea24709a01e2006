//! Finding one item by its key.

use crate::block::{BlockKind, ItemRef};
use crate::disk::root::RootItem;
use crate::disk::{Key, KeyType};
use crate::volume::{NoGoodCopy, Volume};

use super::TreeRoot;
use crate::block::verify::Expected;

impl TreeRoot {
    /// The data of the item with this key, if the tree has one.
    pub fn find(&self, volume: &Volume, key: Key) -> Result<Option<Vec<u8>>, NoGoodCopy> {
        let mut expected = self.expected();
        let mut buffer = Vec::new();
        loop {
            let read = volume.read_block(&expected, &mut buffer)?;
            match read.block.kind() {
                BlockKind::Node(node) => {
                    let ptrs = node.ptrs();
                    let after = ptrs.partition_point(|ptr| Key::from(&ptr.key) <= key);
                    let Some(ptr) = after.checked_sub(1).and_then(|index| ptrs.get(index)) else { return Ok(None) };
                    expected = Expected::child(ptr, node.block().level());
                }
                BlockKind::Leaf(leaf) => {
                    let slot = leaf.headers().partition_point(|item| Key::from(&item.key) < key);
                    let item = leaf.item(slot).filter(|item| item.key == key);
                    return Ok(item.map(|item| item.data.to_vec()));
                }
            }
        }
    }
}

impl TreeRoot {
    /// The root of the tree with this id, whose item stands in this tree; nothing if there is none.
    pub fn find_child(&self, volume: &Volume, tree: u64) -> Result<Option<TreeRoot>, NoGoodCopy> {
        let key = Key::new(tree, KeyType::ROOT_ITEM, 0);
        let data = self.find(volume, key)?;
        let item = data.as_deref().and_then(RootItem::read);
        Ok(item.map(|item| TreeRoot::of_item(key, &item)))
    }

    /// Hands each item with a key from `from` to `to`, both included, to `visit`, in order.
    pub fn range(
        &self,
        volume: &Volume,
        from: Key,
        to: Key,
        mut visit: impl FnMut(ItemRef<'_>),
    ) -> Result<(), NoGoodCopy> {
        // Levels only go down, so that a damaged tree ends too.
        let mut pending = vec![self.expected()];
        let mut buffer = Vec::new();
        while let Some(expected) = pending.pop() {
            let read = volume.read_block(&expected, &mut buffer)?;
            match read.block.kind() {
                BlockKind::Node(node) => {
                    let ptrs = node.ptrs();
                    let start = ptrs.partition_point(|ptr| Key::from(&ptr.key) <= from).saturating_sub(1);
                    let end = ptrs.partition_point(|ptr| Key::from(&ptr.key) <= to).max(start);
                    let level = node.block().level();
                    pending.extend(ptrs[start..end].iter().rev().map(|ptr| Expected::child(ptr, level)));
                }
                BlockKind::Leaf(leaf) => {
                    let wanted = leaf.items().flatten().filter(|item| from <= item.key && item.key <= to);
                    wanted.for_each(&mut visit);
                }
            }
        }
        Ok(())
    }
}
