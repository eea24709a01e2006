//! Which trees a tree has blocks of.

use std::collections::{BTreeMap, BTreeSet};

use crate::disk::fields::Uuid;
use crate::disk::root::RootItem;
use crate::disk::{KeyType, Transid, objectid};
use crate::tree::{BlockPlace, Entered, Tree, TreeRoot, Visit, Visitor, walk};
use crate::volume::Volume;

use super::block::OlderBlock;

/// Whose blocks a tree may have: its own, and those that its ancestors had when the snapshots were taken that lead to it.
#[derive(Clone, Debug)]
pub struct Lineage {
    tree: u64,
    /// Ancestors, and the generation up to which their blocks may be the tree's.
    ancestors: BTreeMap<u64, Transid>,
    /// In which the tree was made.
    made: Transid,
    /// Subvolumes that there are.
    present: BTreeSet<u64>,
}

struct Subvolume {
    uuid: Uuid,
    parent: Uuid,
    made: Transid,
}

/// Reads the root items of subvolumes.
struct Subvolumes;

impl Visitor for Subvolumes {
    type Part = BTreeMap<u64, Subvolume>;

    fn visit(&self, subvolumes: &mut Self::Part, _: &BlockPlace<'_>, visit: Visit<'_>) {
        let Visit::Leaf(leaf) = visit else { return };
        for item in leaf.items().flatten().filter(|item| item.key.key_type == KeyType::ROOT_ITEM) {
            let Some(root) = RootItem::read(item.data).filter(|_| objectid::is_fs_tree(item.key.objectid)) else {
                continue;
            };
            let made = Transid(item.key.offset.max(root.otransid.get()));
            let subvolume = Subvolume { uuid: root.uuid, parent: root.parent_uuid, made };
            subvolumes.insert(item.key.objectid, subvolume);
        }
    }
}

impl Lineage {
    /// The lineage of the tree `tree`, as the root items of the volume that can be read tell.
    pub fn of(volume: &Volume, tree: u64) -> Self {
        let mut subvolumes = BTreeMap::new();
        if objectid::is_fs_tree(tree) {
            let root_tree = Tree::whole(TreeRoot::root_tree(volume));
            walk(volume, &root_tree, &mut Entered::default(), &Subvolumes, &mut subvolumes);
        }
        let made = subvolumes.get(&tree).map(|subvolume| subvolume.made).unwrap_or_default();
        let (mut ancestors, mut bound, mut child) = (BTreeMap::new(), made, tree);
        while let Some(parent) = subvolumes.get(&child).map(|subvolume| subvolume.parent)
            && parent != Uuid::default()
            && let Some((id, subvolume)) = subvolumes.iter().find(|(_, subvolume)| subvolume.uuid == parent)
            && *id != tree
            && !ancestors.contains_key(id)
        {
            ancestors.insert(*id, bound);
            bound = bound.min(subvolume.made);
            child = *id;
        }
        Self { tree, ancestors, made, present: subvolumes.into_keys().collect() }
    }

    /// Whether the block may have been one of the tree. A subvolume that is gone may have been an ancestor.
    pub fn has(&self, block: &OlderBlock) -> bool {
        let bound = self.ancestors.get(&block.owner).unwrap_or(&self.made);
        block.owner == self.tree || self.has_owner(block.owner) && block.generation <= *bound
    }

    /// Whether the tree may have blocks of this owner.
    pub(super) fn has_owner(&self, owner: u64) -> bool {
        let is_gone =
            objectid::is_fs_tree(self.tree) && objectid::is_subvolume(owner) && !self.present.contains(&owner);
        owner == self.tree || is_gone || self.ancestors.contains_key(&owner)
    }
}
