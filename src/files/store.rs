//! The trees of files, and how items of them are read.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Mutex;

use crate::block::ItemRef;
use crate::disk::root::RootItem;
use crate::disk::{Ino, Key, KeyType, Logical, TreeId, objectid};
use crate::error::{Addressed, Error, FileProblem, Result};
use crate::parallel::lock;
use crate::tree::csums::CsumRoot;
use crate::tree::{BlockCache, DataReader, LeafVisit, TreeRoot, UnreadableSpan};
use crate::volume::{BadCopy, NoGoodCopy, Volume};

use super::id::InodeId;
use super::notice::Notice;

/// How files are read.
#[derive(Default)]
#[non_exhaustive]
pub struct Options<'v> {
    /// Hands out data that should have checksums and has none, as where the checksum tree is damaged. Otherwise such data is an
    /// error. What files keep without checksums on purpose (`NODATASUM`) is always handed out.
    pub read_unverified: bool,
    /// Receives a notice of each thing that is wrong, on the thread that reads. The same notice may come more than once.
    pub on_notice: Option<Box<dyn Fn(Notice) + Send + Sync + 'v>>,
}

/// The files of a volume: see the [module](crate::files). It may be used by several threads at once.
pub struct Files<'v> {
    pub(super) volume: &'v Volume,
    pub(super) root_tree: TreeRoot,
    pub(super) options: Options<'v>,
    pub(super) root: InodeId,
    pub(super) cache: BlockCache,
    csums: Option<CsumRoot>,
    trees: Mutex<HashMap<TreeId, Subtree>>,
}

/// A tree of files.
#[derive(Clone, Copy)]
pub(super) struct Subtree {
    pub root: TreeRoot,
    /// Its root directory.
    pub directory: Ino,
}

impl<'v> Files<'v> {
    /// The files of a volume; paths begin at the top-level directory.
    pub(super) fn new(volume: &'v Volume, options: Options<'v>) -> Self {
        let root = InodeId::new(TreeId(objectid::FS_TREE), Ino(objectid::ROOT_DIR));
        let (root_tree, cache, trees) = (TreeRoot::root_tree(volume), BlockCache::default(), Mutex::default());
        let mut files = Self { volume, root_tree, options, root, cache, csums: None, trees };
        files.csums = match CsumRoot::of(volume, &root_tree) {
            Ok(csums) => Some(csums),
            Err(block) => {
                files.notice(|| Notice::Block { tree: TreeId(objectid::ROOT_TREE), block });
                None
            }
        };
        files
    }

    /// The volume that is read.
    pub fn volume(&self) -> &'v Volume {
        self.volume
    }

    /// The directory that paths begin at.
    pub fn root(&self) -> InodeId {
        self.root
    }

    pub(super) fn notice(&self, notice: impl FnOnce() -> Notice) {
        if let Some(on_notice) = &self.options.on_notice {
            on_notice(notice());
        }
    }

    pub(super) fn data_reader(&self) -> DataReader<'_> {
        DataReader::new(self.volume, &self.cache, self.csums)
    }

    /// The tree of a subvolume. It is found by the item with the greatest offset: that of a snapshot's is its generation.
    pub(super) fn tree(&self, tree: TreeId) -> Result<Subtree> {
        if let Some(subtree) = lock(&self.trees).get(&tree) {
            return Ok(*subtree);
        }
        let key = |offset| Key::new(tree.0, KeyType::ROOT_ITEM, offset);
        let mut found = None;
        let unreadable = self.scan_root_tree(key(0), key(u64::MAX), |item| {
            if let Some(root) = RootItem::read(item.data) {
                let directory = match root.root_dirid.get() {
                    0 => Ino(objectid::ROOT_DIR),
                    directory => Ino(directory),
                };
                found = Some(Subtree { root: TreeRoot::of_item(item.key, &root), directory });
            }
            ControlFlow::Continue(())
        });
        match (found, unreadable) {
            (Some(subtree), _) => {
                lock(&self.trees).insert(tree, subtree);
                Ok(subtree)
            }
            (None, Some(UnreadableSpan { block, .. })) => {
                Err(Error::Block { what: Addressed::RootTreeBlock, logical: block.logical, problem: block.into() })
            }
            (None, None) => Err(Error::NoTree { tree: tree.0, name: "" }),
        }
    }

    /// Visits items of a tree of files, as [`TreeRoot::visit_range`]. Returns the first block that cannot be read.
    ///
    /// # Errors
    ///
    /// There is no such tree.
    pub(super) fn scan(
        &self,
        tree: TreeId,
        from: Key,
        to: Key,
        visit: impl FnMut(ItemRef<'_>) -> ControlFlow<()>,
    ) -> Result<Option<UnreadableSpan>> {
        Ok(self.scan_tree(tree, &self.tree(tree)?.root, from, to, visit))
    }

    pub(super) fn scan_root_tree(
        &self,
        from: Key,
        to: Key,
        visit: impl FnMut(ItemRef<'_>) -> ControlFlow<()>,
    ) -> Option<UnreadableSpan> {
        self.scan_tree(TreeId(objectid::ROOT_TREE), &self.root_tree, from, to, visit)
    }

    fn scan_tree(
        &self,
        tree: TreeId,
        root: &TreeRoot,
        from: Key,
        to: Key,
        mut visit: impl FnMut(ItemRef<'_>) -> ControlFlow<()>,
    ) -> Option<UnreadableSpan> {
        let mut first = None;
        // That the visitor has enough is no news to it.
        let _ = root.visit_range(self.volume, &self.cache, from, to, |met| {
            match met {
                LeafVisit::Item(item) => return visit(item),
                LeafVisit::BadCopy(logical, copy) => self.notice_copy(tree, logical, copy),
                LeafVisit::Unreadable(unreadable) => {
                    self.notice_block(tree, &unreadable.block);
                    first.get_or_insert_with(|| unreadable.clone());
                }
            }
            ControlFlow::Continue(())
        });
        first
    }

    /// The volume reports missing devices, once.
    pub(super) fn notice_copy(&self, tree: TreeId, logical: Logical, copy: &BadCopy) {
        if !copy.is_missing() {
            self.notice(|| Notice::BlockCopy { tree, logical, copy: copy.clone() });
        }
    }

    pub(super) fn notice_block(&self, tree: TreeId, block: &NoGoodCopy) {
        self.notice(|| Notice::Block { tree, block: block.clone() });
    }

    /// What `take` makes of the item with this key; nothing if there is none.
    ///
    /// # Errors
    ///
    /// The block where it would stand cannot be read.
    pub(super) fn item<T>(&self, id: InodeId, key: Key, take: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        let (mut take, mut taken) = (Some(take), None);
        let unreadable = self.scan(id.tree, key, key, |item| {
            taken = take.take().map(|take| take(item.data));
            ControlFlow::Break(())
        })?;
        match unreadable {
            Some(unreadable) if taken.is_none() => Err(id.error(tree_block(&unreadable.block))),
            _ => Ok(taken),
        }
    }
}

/// The problem of a tree block that cannot be read.
pub(super) fn tree_block(block: &NoGoodCopy) -> FileProblem {
    FileProblem::TreeBlock { logical: block.logical, problem: block.clone() }
}
