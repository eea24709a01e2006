//! The trees of a filesystem.

use crate::block::{ItemRef, Leaf};
use crate::disk::root::RootItem;
use crate::disk::{KeyType, objectid};
use crate::tree::{Tree, TreeRoot};
use crate::volume::Volume;

/// All trees, by when a survey reads them.
pub struct Trees {
    /// The root tree.
    pub root_tree: Tree,
    /// The extent tree, if there is a root item of it.
    pub extent_tree: Option<Tree>,
    /// The chunk tree and all trees that root items lead to, but for the extent tree.
    pub others: Vec<Tree>,
    /// The log root tree.
    pub log_root: Option<Tree>,
    /// The log trees: their blocks have no extent items.
    pub logs: Vec<Tree>,
}

impl Trees {
    /// `of_roots` and `of_logs` are the trees whose root items stand in the root tree and in the log root tree.
    pub fn new(volume: &Volume, of_roots: Vec<Tree>, of_logs: Vec<Tree>) -> Self {
        let in_order = |mut trees: Vec<Tree>| {
            trees.sort_by_key(|tree| tree.root.key);
            trees
        };
        let mut others = in_order(of_roots);
        let extent_tree = others.iter().position(|tree| tree.id() == objectid::EXTENT_TREE);
        let extent_tree = extent_tree.map(|index| others.remove(index));
        others.push(Tree::whole(TreeRoot::chunk_tree(volume)));
        let log_root = TreeRoot::log_root_tree(volume).map(Tree::whole);
        Self {
            root_tree: Tree::whole(TreeRoot::root_tree(volume)),
            extent_tree,
            others,
            log_root,
            logs: in_order(of_logs),
        }
    }

    /// Those whose blocks have extent items, the extent tree last.
    pub fn with_extents(&self) -> Vec<Tree> {
        self.others.iter().chain([&self.root_tree]).chain(&self.extent_tree).copied().collect()
    }

    /// The checksum tree; several with extent tree v2.
    pub fn checksum_trees(&self) -> impl Iterator<Item = &Tree> {
        self.others.iter().filter(|tree| tree.id() == objectid::CSUM_TREE)
    }
}

/// The trees whose root items stand in a leaf.
pub fn trees_of(leaf: Leaf<'_>) -> impl Iterator<Item = Tree> {
    let items = leaf.items().flatten().filter(|item| item.key.key_type == KeyType::ROOT_ITEM);
    items.filter_map(|item: ItemRef<'_>| {
        let root_item = RootItem::read(item.data)?;
        Some(Tree { root: TreeRoot::of_item(item.key, &root_item), drop_progress: root_item.drop_progress() })
    })
}
