//! The trees of a filesystem.

use crate::block::Leaf;
use crate::disk::root::RootItem;
use crate::disk::{KeyType, objectid};
use crate::tree::TreeRoot;
use crate::volume::Volume;

use super::scan::{Scan, Tree, Visit};

/// All trees, by when a check reads them.
pub struct Roots {
    pub root_tree: Tree,
    pub extent_tree: Option<Tree>,
    /// The chunk tree and all trees that root items lead to, but for the extent tree.
    pub others: Vec<Tree>,
    /// The log root tree and the log trees: their blocks have no extent items.
    pub logs: Vec<Tree>,
}

fn whole(root: TreeRoot) -> Tree {
    Tree { root, dropped_to: None }
}

impl Roots {
    /// Reads the root tree, and the log root tree if there is one. `visit` sees every block of the root tree.
    pub fn read<A: Default + Send>(
        scan: &Scan<'_>,
        volume: &Volume,
        visit: impl Fn(&mut A, &Tree, &Visit<'_>) + Sync,
    ) -> (Self, Vec<A>) {
        let root_tree = whole(TreeRoot::root_tree(volume));
        let (mut trees, visited) = children(scan, &root_tree, visit);
        let extent_tree = trees.iter().position(|tree| tree.root.key.objectid == objectid::EXTENT_TREE);
        let extent_tree = extent_tree.map(|index| trees.remove(index));
        trees.push(whole(TreeRoot::chunk_tree(volume)));
        let mut logs = Vec::new();
        if let Some(log_root) = TreeRoot::log_root_tree(volume) {
            logs = children(scan, &whole(log_root), |_: &mut (), _, _| {}).0;
        }
        (Self { root_tree, extent_tree, others: trees, logs }, visited)
    }
}

/// The trees that the root items of a tree lead to, in the order of their keys.
fn children<A: Default + Send>(
    scan: &Scan<'_>,
    tree: &Tree,
    visit: impl Fn(&mut A, &Tree, &Visit<'_>) + Sync,
) -> (Vec<Tree>, Vec<A>) {
    let gathered = scan.run(std::slice::from_ref(tree), |(trees, visited): &mut (Vec<Tree>, A), tree, block| {
        visit(visited, tree, &block);
        if let Visit::Leaf(leaf) = block {
            trees.extend(roots_of(leaf));
        }
    });
    let (trees, visited): (Vec<_>, Vec<_>) = gathered.into_iter().unzip();
    let mut trees = trees.concat();
    trees.sort_by_key(|tree| tree.root.key);
    (trees, visited)
}

fn roots_of(leaf: Leaf<'_>) -> Vec<Tree> {
    let items = leaf.items().flatten().filter(|item| item.key.key_type == KeyType::ROOT_ITEM);
    let tree = |item: crate::block::ItemRef<'_>| {
        let root_item = RootItem::read(item.data)?;
        Some(Tree { root: TreeRoot::of_item(item.key, &root_item), dropped_to: root_item.dropped_to() })
    };
    items.filter_map(tree).collect()
}
