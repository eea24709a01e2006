//! The trees whose roots stand in a tree.

use crate::block::BlockKind;
use crate::disk::KeyType;
use crate::disk::root::RootItem;
use crate::volume::{NoGoodCopy, Volume};

use super::root::TreeRoot;
use super::walk::{Levels, Walk};

impl TreeRoot {
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
