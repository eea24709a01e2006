//! What stands in trees that lead to others: roots, devices, and the uuid of the chunk tree.

use crate::block::BlockKind;
use crate::disk::fields::Uuid;
use crate::disk::root::RootItem;
use crate::disk::volume::DevItem;
use crate::disk::{Key, KeyType, objectid};
use crate::volume::{NoGoodCopy, Volume};

use super::root::TreeRoot;
use super::walk::{Levels, Walk};

impl TreeRoot {
    /// The device items of this tree, which is the chunk tree, in the order of their keys.
    ///
    /// # Errors
    /// The first block that cannot be read.
    pub fn dev_items(&self, volume: &Volume) -> Result<Vec<DevItem>, NoGoodCopy> {
        let key = |devid| Key::new(objectid::DEV_ITEMS, KeyType::DEV_ITEM, devid);
        let mut items = Vec::new();
        self.range(volume, key(0), key(u64::MAX), |item| {
            items.extend(DevItem::read_prefix(item.data).map(|(item, _)| *item));
        })?;
        Ok(items)
    }

    /// The uuid of the chunk tree that the root block carries, as all blocks do.
    ///
    /// # Errors
    /// The root block cannot be read.
    pub fn chunk_tree_uuid(&self, volume: &Volume) -> Result<Uuid, NoGoodCopy> {
        let mut buffer = Vec::new();
        let read = volume.read_block(&self.expected(), &mut buffer)?;
        Ok(read.block.header().chunk_tree_uuid)
    }

    /// The roots whose items stand in this tree, in the order of their keys. Blocks that cannot be read are skipped.
    pub fn children(&self, volume: &Volume) -> Vec<TreeRoot> {
        self.find_children(volume).0
    }

    /// The roots whose items stand in this tree, in the order of their keys, and the blocks that cannot be read: where
    /// there are any, roots may be missing.
    pub fn find_children(&self, volume: &Volume) -> (Vec<TreeRoot>, Vec<NoGoodCopy>) {
        let mut roots = Vec::new();
        let mut unreadable = Vec::new();
        let mut buffer = Vec::new();
        for leaf in Walk::new(volume, self.expected(), Levels::Leaves) {
            let read = match volume.read_block(&leaf, &mut buffer) {
                Ok(read) => read,
                Err(bad) => {
                    unreadable.push(bad);
                    continue;
                }
            };
            let BlockKind::Leaf(leaf) = read.block.kind() else { continue };
            for item in leaf.items().flatten().filter(|item| item.key.key_type == KeyType::ROOT_ITEM) {
                if let Some(root_item) = RootItem::read(item.data) {
                    roots.push(TreeRoot::of_item(item.key, &root_item));
                }
            }
        }
        (roots, unreadable)
    }
}
