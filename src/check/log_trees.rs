//! Log trees that wait to be replayed: where their blocks lie, and the data that they add to files.
//!
//! Neither their blocks nor the data that is new in them have extent items yet: both must lie where nothing is.

use std::collections::BTreeSet;

use crate::block::{Block, Kind, Leaf};
use crate::disk::flags::block_group;
use crate::disk::flags::inode::NODATASUM;
use crate::disk::inode::{FileExtentDisk, FileExtentItem, InodeItem, file_extent_type};
use crate::disk::{KeyType, Logical, Transid};
use crate::finding::findings;
use crate::tree::{Levels, TreeRoot, Walk};
use crate::volume::Volume;

use super::block_groups::knows_extents;
use super::checksums::{Checksums, Coverage, Run, runs_of};
use super::extent_list::Cursor;
use super::findings::Findings;
use super::free_space::Space;

findings! {
    /// Log trees: what the next mount adds to the filesystem.
    LogProblem {
        /// The tree of log trees is not of the generation after the superblock's: it cannot be mounted without `nologreplay`.
        Generation("log-generation", Fatal, "log root tree: invalid generation, have {have} expect {expect}") {
            have: Transid, expect: Transid,
        }
        /// A block of a log tree lies in a chunk that is not for metadata.
        BlockOutside("log-block-outside", Error, "log tree block {block} lies in a chunk of type {chunk_type:#x}") {
            block: Logical, chunk_type: u64,
        }
        /// A block of a log tree lies where an extent is that is in use.
        BlockUsed("log-block-used", Error, "log tree block {block} lies over extent {extent}") {
            block: Logical, extent: Logical,
        }
        /// Logged data does not lie within one chunk for data.
        ExtentOutside(
            "log-extent-outside", Error,
            "logged extent {extent} of {length} bytes of inode {inode} in tree {tree} lies in no data chunk"
        ) {
            tree: u64, inode: u64, extent: Logical, length: u64,
        }
        /// Logged data lies partly over an extent that is in use.
        ExtentUsed(
            "log-extent-used", Error,
            "logged extent {extent} of {length} bytes of inode {inode} in tree {tree} overlaps extent {other}"
        ) {
            tree: u64, inode: u64, extent: Logical, length: u64, other: Logical,
        }
        /// Logged data has no checksums: once it is replayed it cannot be read.
        Checksums(
            "log-csum-missing", Error,
            "logged data of inode {inode} in tree {tree} from {start} to {end} has no checksums, in the log or else"
        ) {
            tree: u64, inode: u64, start: Logical, end: Logical,
        }
    }
}

/// Checks the log trees. Returns the data that they add, start and end of each extent.
pub fn check(volume: &Volume, space: &Space<'_>, committed: &Checksums, findings: &Findings) -> Vec<(u64, u64)> {
    let Some(log_root) = TreeRoot::log_root_tree(volume) else { return Vec::new() };
    let expect = Transid(volume.superblock().generation().0.saturating_add(1));
    let log = Log { volume, space, committed, findings };
    let mut added = Vec::new();
    log.walk(&log_root, |block| {
        let have = Transid::from(block.header().generation);
        if block.logical() == log_root.logical && have != expect {
            findings.report(LogProblem::Generation { have, expect });
        }
    });
    for root in log_root.children(volume) {
        let mut logged = Logged::default();
        let is_whole = log.walk(&root, |block| {
            if let Kind::Leaf(leaf) = block.kind() {
                logged.add(volume, leaf);
            }
        });
        let extent = |logged: &LoggedExtent| (logged.extent.0, logged.extent.0.saturating_add(logged.length));
        added.extend(logged.extents.iter().map(extent));
        log.check_extents(root.key.offset, logged, is_whole);
    }
    added
}

/// What a log tree holds of data.
#[derive(Default)]
struct Logged {
    extents: Vec<LoggedExtent>,
    checksums: Vec<Run>,
    without_checksums: BTreeSet<u64>,
    inodes: BTreeSet<u64>,
}

/// An extent in a file extent item, and the part of it that needs checksums.
struct LoggedExtent {
    inode: u64,
    extent: Logical,
    length: u64,
    summed: Option<(Logical, u64)>,
}

impl Logged {
    fn add(&mut self, volume: &Volume, leaf: Leaf<'_>) {
        let format = volume.format();
        self.checksums.extend(runs_of(leaf, format.csum_type.size() as u64, format.sectorsize.into()));
        for item in leaf.items().flatten() {
            let inode = item.key.objectid;
            match item.key.key_type {
                KeyType::INODE_ITEM => {
                    let Some((inode_item, _)) = InodeItem::read_prefix(item.data) else { continue };
                    self.inodes.insert(inode);
                    if inode_item.flags.get() & NODATASUM != 0 {
                        self.without_checksums.insert(inode);
                    }
                }
                KeyType::EXTENT_DATA => self.extents.extend(LoggedExtent::read(inode, item.data)),
                _ => {}
            }
        }
    }
}

impl LoggedExtent {
    /// Nothing for a hole and for data within the item.
    fn read(inode: u64, data: &[u8]) -> Option<Self> {
        let (item, rest) = FileExtentItem::read_prefix(data)?;
        let (disk, _) = FileExtentDisk::read_prefix(rest).filter(|_| item.r#type != file_extent_type::INLINE)?;
        let (extent, length) = (Logical::from(disk.disk_bytenr), disk.disk_num_bytes.get());
        let summed = match item.compression {
            0 => (extent.checked_add(disk.offset.get())?, disk.num_bytes.get()),
            _ => (extent, length),
        };
        let summed = Some(summed).filter(|_| item.r#type == file_extent_type::REG);
        (extent != Logical(0)).then_some(Self { inode, extent, length, summed })
    }
}

struct Log<'a> {
    volume: &'a Volume,
    space: &'a Space<'a>,
    /// The checksum tree, which may have those of logged data already.
    committed: &'a Checksums,
    findings: &'a Findings,
}

impl Log<'_> {
    /// Hands each block of a tree to `visit`, after a look at its place. Returns whether all could be read.
    fn walk(&self, root: &TreeRoot, mut visit: impl FnMut(Block<'_>)) -> bool {
        let mut is_whole = true;
        let mut buffer = Vec::new();
        for expected in Walk::new(self.volume, root.expected(), Levels::All) {
            match self.volume.read_block(&expected, &mut buffer) {
                Ok(read) => {
                    self.check_place(expected.logical);
                    visit(read.block);
                }
                Err(_) => is_whole = false,
            }
        }
        is_whole
    }

    fn check_place(&self, block: Logical) {
        let Some(chunk) = self.space.chunks.find(block) else { return };
        if !chunk.flags.contains(block_group::METADATA) && self.space.groups.agree_on_type(chunk) {
            let chunk_type = chunk.flags.type_bits();
            self.findings.report(LogProblem::BlockOutside { block, chunk_type });
        }
        let end = Logical(block.0.saturating_add(self.volume.format().nodesize.into()));
        for extent in self.space.extents.over(block, end) {
            self.findings.report(LogProblem::BlockUsed { block, extent: extent.logical });
        }
    }

    fn check_extents(&self, tree: u64, logged: Logged, is_whole: bool) {
        let checksums = Checksums::of_log(logged.checksums);
        for LoggedExtent { inode, extent, length, summed } in logged.extents {
            let end = Logical(extent.0.saturating_add(length));
            let Some(chunk) = self.space.chunks.find(extent) else {
                if self.space.chunks.lack_address(extent) {
                    self.findings.report(LogProblem::ExtentOutside { tree, inode, extent, length });
                }
                continue;
            };
            let is_data = chunk.flags.contains(block_group::DATA) || !self.space.groups.agree_on_type(chunk);
            if !is_data || end > chunk.end() {
                self.findings.report(LogProblem::ExtentOutside { tree, inode, extent, length });
                continue;
            }
            // An extent that was committed before has its checksums elsewhere.
            let is_committed =
                self.space.extents.find(extent, &mut Cursor::default()).is_some_and(|known| known.length == length);
            if is_committed || !knows_extents(self.space.extent_tree, chunk.logical, chunk.end()) {
                continue;
            }
            let mut others = self.space.extents.over(extent, end).peekable();
            let is_free = others.peek().is_none();
            for other in others.map(|other| other.logical) {
                self.findings.report(LogProblem::ExtentUsed { tree, inode, extent, length, other });
            }
            let needs_checksums =
                is_whole && is_free && logged.inodes.contains(&inode) && !logged.without_checksums.contains(&inode);
            if let Some((start, length)) = summed.filter(|_| needs_checksums)
                && checksums.coverage(start.0, length) != Coverage::All
                && !matches!(self.committed.coverage(start.0, length), Coverage::All | Coverage::Unknown)
            {
                let end = Logical(start.0.saturating_add(length));
                self.findings.report(LogProblem::Checksums { tree, inode, start, end });
            }
        }
    }
}
