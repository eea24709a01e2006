//! The trees of a filesystem.

use crate::block::{ItemRef, Leaf};
use crate::disk::root::RootItem;
use crate::disk::{KeyType, Transid, objectid};
use crate::tree::{Origin, Tree, TreeRoot};
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
    leaf.items().flatten().filter_map(|item| tree_of(&item))
}

/// The tree whose root item this is.
pub fn tree_of(item: &ItemRef<'_>) -> Option<Tree> {
    let root_item = RootItem::read(item.data).filter(|_| item.key.key_type == KeyType::ROOT_ITEM)?;
    let made = Transid(item.key.offset.max(root_item.otransid.get()));
    let origin = Origin { made, last_snapshot: root_item.last_snapshot.into() };
    let origin = objectid::is_fs_tree(item.key.objectid).then_some(origin);
    let root = TreeRoot::of_item(item.key, &root_item);
    Some(Tree { root, drop_progress: root_item.drop_progress(), origin })
}
