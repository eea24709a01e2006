//! Trees that are opened on demand: those of files, and others that the transaction has no use for by itself.

use std::sync::Arc;

use crate::disk::root::RootItem;
use crate::disk::{Key, KeyType, Transid, objectid};
use crate::error::{Error, Result, TreeProblem};
use crate::sync::Mutex;
use crate::tree::TreeRoot;

use super::filesystem::Filesystem;
use super::ranks;
use super::staged::StagedTree;

impl Filesystem {
    /// Opens a tree of the root tree to change it: all callers get one and the same in this transaction. The commit brings its
    /// root item up to date. A caller that takes a reference to data out of a tree of files, or puts one in, calls
    /// [`Filesystem::drop_data_reference`] or [`Filesystem::add_data_reference`], and one that changes inodes changes all that
    /// they count.
    ///
    /// # Errors
    /// The trees that the transaction changes by itself, subvolumes that are being deleted or relocated, and those of a
    /// filesystem with simple quotas, which would have to be counted.
    pub fn tree(&self, id: u64) -> Result<Arc<Mutex<StagedTree>>> {
        let error = |problem| Error::Tree { tree: id, problem };
        if is_own(id) {
            return Err(error(TreeProblem::Own));
        }
        let mut opened = self.trees.opened.lock();
        if let Some(tree) = opened.get(&id) {
            return Ok(Arc::clone(tree));
        }
        let (key, item) = self.last_root_item(id)?;
        let root = TreeRoot::of_item(key, &item);
        let tree = if objectid::is_fs_tree(id) {
            if item.refs.get() == 0 {
                return Err(error(TreeProblem::Deleting));
            }
            let relocation = Key::new(objectid::TREE_RELOC, KeyType::ROOT_ITEM, id);
            if self.trees.root.lock().find(self, relocation)?.is_some() {
                return Err(error(TreeProblem::Relocating));
            }
            self.quotas.prepare()?;
            StagedTree::of_files(root, Transid(item.last_snapshot.get()))
        } else {
            StagedTree::new(root)
        };
        let tree = Arc::new(Mutex::new(ranks::opened_tree(id), tree));
        opened.insert(id, Arc::clone(&tree));
        Ok(tree)
    }

    /// The root item of a tree, the last one if there are more (`btrfs_find_root` in fs/btrfs/root-tree.c): the key of a
    /// snapshot's has the generation in which it was made.
    fn last_root_item(&self, id: u64) -> Result<(Key, RootItem)> {
        let last = Key::new(id, KeyType::ROOT_ITEM, u64::MAX);
        let found = self.trees.root.lock().find_last(self, last)?;
        let found = found.filter(|(key, _)| (key.objectid, key.key_type) == (id, KeyType::ROOT_ITEM));
        let item = found.and_then(|(key, data)| Some((key, RootItem::read(&data)?)));
        item.ok_or(Error::NoTree { tree: id, name: objectid::name(id).unwrap_or_default() })
    }
}

fn is_own(tree: u64) -> bool {
    matches!(
        tree,
        objectid::ROOT_TREE
            | objectid::EXTENT_TREE
            | objectid::CHUNK_TREE
            | objectid::DEV_TREE
            | objectid::FREE_SPACE_TREE
            | objectid::BLOCK_GROUP_TREE
    )
}
