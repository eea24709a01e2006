//! What a relocation does to a transaction beside what other changes do: it gives blocks and data other places and
//! leaves everything else of them as it is, however many trees share them.

use crate::disk::node::Header;
use crate::disk::{BlockGroupFlags, Logical, Profile, Transid, objectid};
use crate::error::{Error, Result};
use crate::space::Payer;
use crate::tree::TreeRoot;
use crate::tree::edit::Editor;
use crate::volume::{ChunkMap, Staged};

use super::filesystem::Filesystem;
use super::staged::ByCommit;
use super::store::Store;

impl Filesystem {
    /// The filesystem as the last commit left it: what this transaction has done is dropped. Bounds of devices stay.
    ///
    /// # Errors
    /// As those of [`Filesystem::open`].
    pub fn abandon(self) -> Result<Self> {
        let bounds: Vec<(u64, u64)> =
            self.chunks().devices.iter().map(|device| (device.item.devid.get(), device.holes.bound())).collect();
        let fs = Self::of(self.volume, None)?;
        bounds.into_iter().for_each(|(devid, bound)| fs.bound_device(devid, bound));
        Ok(fs)
    }

    /// Has no new chunk lie on this device from a byte of it on.
    pub fn bound_device(&self, devid: u64, bound: u64) {
        if let Some(device) = self.chunks().device_mut(devid) {
            device.holes.set_bound(bound);
        }
    }

    /// Whether nothing reaches the images: see [`Filesystem::rehearse`].
    pub fn is_rehearsal(&self) -> bool {
        self.volume.is_rehearsal()
    }

    /// Whether blocks of files that are not newer keep their generation when they move: simple quotas do not count what is older
    /// than themselves, and a new generation would have it counted when it goes.
    pub fn keeps_generation(&self, generation: Transid) -> bool {
        self.quotas.simple_since().is_some_and(|since| generation < since)
    }

    /// Has the header of a block that was copied say where it stands, and of which generation it is.
    pub fn set_place(&self, header: &mut Header, logical: Logical, generation: Transid) {
        // Of a sprout, the block may be that of a seed.
        header.fsid = self.volume().superblock().metadata_fsid();
        header.chunk_tree_uuid = self.chunk_tree_uuid();
        header.bytenr = logical.0.into();
        header.generation = generation.0.into();
    }

    /// Space for a block of a tree of files, which the commit pays for: of this profile alone, or of the one that new blocks have.
    ///
    /// # Errors
    /// [`Error::NoSpace`], or the free space of a block group cannot be read.
    pub fn take_block_of(&self, flags: BlockGroupFlags, profile: Option<Profile>) -> Result<Logical> {
        let Some(profile) = profile else { return self.take_block(objectid::FS_TREE, Payer::Commit) };
        let mut space = self.space();
        let taken = space.allocate_block_in(flags, profile, |group| self.committed_free(group))?;
        let left = space.info(flags).unreserved();
        taken.ok_or(Error::NoSpace { what: "metadata", wanted: self.volume().format().nodesize.into(), left })
    }

    /// The free ranges of block groups of this type and profile, start and bytes, in order.
    ///
    /// # Errors
    /// The free space of a block group cannot be read.
    pub fn free_ranges(&self, flags: BlockGroupFlags, profile: Profile) -> Result<Vec<(Logical, u64)>> {
        self.space().free_ranges(flags, profile, |group| self.committed_free(group))
    }

    /// Writes bytes, sorted by address, to space that was taken in this transaction. Nothing leads there before the commit, whose
    /// barriers they come before. Rows with parity are written by one thread at a time.
    ///
    /// # Errors
    /// As those of [`crate::volume::WritableVolume::write`].
    pub fn write_ahead(&self, chunks: &ChunkMap, staged: &[Staged<'_>]) -> Result<()> {
        self.volume.write(chunks, staged)
    }

    /// Has the kernel begin to bring what was written ahead to the devices.
    pub fn begin_sync(&self) {
        self.volume.begin_sync();
    }

    /// Edits the extent tree, in the name of the commit.
    ///
    /// # Errors
    /// Those of `edit`: nothing can be committed then.
    pub fn edit_extent_tree<T>(&self, edit: impl FnOnce(&mut Editor<'_, Store<'_>>) -> Result<T>) -> Result<T> {
        ByCommit::new(self.trees.extent.lock()).edit(self, edit)
    }

    /// Changes the tree of checksums, in the name of the commit.
    ///
    /// # Errors
    /// There is no such tree, and those of `change`.
    pub fn change_checksums<T>(&self, change: impl FnOnce(&mut TreeRoot, &mut Store<'_>) -> Result<T>) -> Result<T> {
        let tree = self.tree(objectid::CSUM_TREE)?;
        let mut tree = ByCommit::new(tree.lock());
        let (root, mut store) = tree.parts(self);
        change(root, &mut store)
    }

    /// A tree of files, which this transaction has not opened, has another root block. Blocks that are not newer than
    /// `last_snapshot`, if one is given, may be shared from now on.
    ///
    /// # Errors
    /// There is no such root item, or it cannot be changed.
    pub fn move_root(&self, root: &TreeRoot, last_snapshot: Option<Transid>) -> Result<()> {
        let mut root_tree = ByCommit::new(self.trees.root.lock());
        let change = |item: &mut crate::disk::root::RootItem| {
            item.bytenr = root.logical.0.into();
            if let Some(generation) = root.generation {
                item.generation = generation.0.into();
            }
            if let Some(last_snapshot) = last_snapshot {
                item.last_snapshot = last_snapshot.0.into();
            }
            true
        };
        self.update_root_item(&mut root_tree, root.key, change).map(drop)
    }

    /// Copies all blocks whose addresses `is_left` names of the trees that the transaction changes by itself and of `others`,
    /// which are no trees of files; of the chunk tree none. Returns how many there were.
    ///
    /// # Errors
    /// A tree that cannot be read, or no space: nothing can be committed then.
    pub fn leave_blocks(&self, others: &[u64], is_left: &dyn Fn(Logical) -> bool) -> Result<u64> {
        let mut left = 0;
        for id in others {
            let tree = self.tree(*id)?;
            left += ByCommit::new(tree.lock()).edit(self, |editor| editor.leave(is_left))?;
        }
        let own = [&self.trees.extent, &self.trees.device].into_iter();
        let own = own.chain(&self.trees.block_group).chain(&self.trees.free_space).chain([&self.trees.root]);
        for tree in own {
            left += ByCommit::new(tree.lock()).edit(self, |editor| editor.leave(is_left))?;
        }
        Ok(left)
    }
}
