//! What is known of an inode from the items seen so far.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::ItemRef;
use crate::disk::flags::incompat::NO_HOLES;
use crate::disk::inode::{FileExtentDisk, FileExtentItem, InodeItem, compression, dir_type, file_extent_type};
use crate::disk::{KeyType, Logical, objectid};
use crate::mix::mix;
use crate::volume::Volume;

use super::super::csums::{Coverage, CsumRuns};
use super::names::{Holder, Name, names_of};

/// What holds for the files of the whole filesystem.
pub struct Rules<'c> {
    pub csums: &'c CsumRuns,
    /// Whether files may have ranges without an extent.
    pub no_holes: bool,
}

impl<'c> Rules<'c> {
    pub fn new(volume: &Volume, csums: &'c CsumRuns) -> Self {
        Self { csums, no_holes: volume.superblock().has_incompat(NO_HOLES) }
    }
}

mod parts {
    pub const ITEM: u32 = 1;
    pub const NODATASUM: u32 = 1 << 1;
    /// Any extent.
    pub const EXTENTS: u32 = 1 << 2;
    /// Any entry of a directory.
    pub const ENTRIES: u32 = 1 << 3;
    /// Data that has checksums.
    pub const SUMMED: u32 = 1 << 4;
    /// Compressed data that lacks checksums.
    pub const COMPRESSED: u32 = 1 << 5;
    /// Items may stand in what could not be read.
    pub const UNKNOWN: u32 = 1 << 6;
    /// Any name of a subvolume.
    pub const SUBVOLUMES: u32 = 1 << 7;
    /// Inline data.
    pub const INLINE: u32 = 1 << 8;
    /// Extents that are not inline, holes among them.
    pub const ON_DISK: u32 = 1 << 9;
    /// A NUL within inline data, where that of a symbolic link may be.
    pub const NUL: u32 = 1 << 10;
    /// A NUL at its end.
    pub const TERMINATED: u32 = 1 << 11;
    /// Any item of fs-verity.
    pub const VERITY: u32 = 1 << 12;
}

const NOWHERE: u64 = u64::MAX;

/// An inode, as far as its items were seen. Two pieces of one make a whole: see [`Inode::followed_by`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Inode {
    pub number: u64,
    parts: u32,
    pub mode: u32,
    pub nlink: u32,
    /// Names that its back references list.
    pub refs: u32,
    /// The sum of these names' hashes.
    pub ref_sum: u64,
    pub size: u64,
    pub nbytes: u64,
    /// Length of all names in its entries and indexes, if it is a directory.
    pub entry_bytes: u64,
    /// What its extents count for in `nbytes`.
    pub extent_bytes: u64,
    first_extent: u64,
    extents_end: u64,
    first_gap: u64,
    first_overlap: u64,
    first_unsummed: u64,
    first_summed_prealloc: u64,
}

/// What may be wrong with an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    NoItem,
    Unlinked,
    Links,
    ManyNames,
    DirectorySize,
    Bytes,
    Items,
    Overlap {
        offset: u64,
    },
    Gap {
        offset: u64,
    },
    Unsummed {
        offset: u64,
    },
    CompressedUnsummed {
        offset: u64,
    },
    Summed,
    /// Preallocated data has checksums; it may have been written as that of another file.
    SummedPrealloc {
        offset: u64,
    },
    LinkNotInline,
    LinkEmpty,
    /// `length` bytes are the target of a symbolic link.
    LinkSize {
        length: u64,
    },
    LinkNul,
}

impl Inode {
    pub fn new(number: u64) -> Self {
        Self {
            number,
            parts: 0,
            mode: 0,
            nlink: 0,
            refs: 0,
            ref_sum: 0,
            size: 0,
            nbytes: 0,
            entry_bytes: 0,
            extent_bytes: 0,
            first_extent: NOWHERE,
            extents_end: 0,
            first_gap: NOWHERE,
            first_overlap: NOWHERE,
            first_unsummed: NOWHERE,
            first_summed_prealloc: NOWHERE,
        }
    }

    /// An inode of which items may stand in what could not be read.
    pub fn unknown(number: u64) -> Self {
        Self { parts: parts::UNKNOWN, ..Self::new(number) }
    }

    /// Whether this object id of a file tree is that of an inode.
    pub fn is_number(objectid: u64) -> bool {
        (objectid::FIRST_FREE..=objectid::LAST_FREE).contains(&objectid)
    }

    fn has(&self, part: u32) -> bool {
        self.parts & part != 0
    }

    pub fn has_item(&self) -> bool {
        self.has(parts::ITEM)
    }

    pub fn is_unknown(&self) -> bool {
        self.has(parts::UNKNOWN)
    }

    /// Whether any of its names leads to a subvolume.
    pub fn names_subvolumes(&self) -> bool {
        self.has(parts::SUBVOLUMES)
    }

    pub fn is_directory(&self) -> bool {
        entry_type(self.mode) == dir_type::DIR
    }

    /// Notes one of its items. What it adds to the sums of the tree's names is returned.
    pub fn add(&mut self, item: &ItemRef<'_>, rules: &Rules<'_>) -> u64 {
        match item.key.key_type {
            KeyType::INODE_ITEM => {
                if let Some((inode, _)) = InodeItem::read_prefix(item.data) {
                    self.parts |= parts::ITEM;
                    if !inode.has_csums() {
                        self.parts |= parts::NODATASUM;
                    }
                    (self.mode, self.nlink) = (inode.mode.get(), inode.nlink.get());
                    (self.size, self.nbytes) = (inode.size.get(), inode.nbytes.get());
                }
                0
            }
            KeyType::EXTENT_DATA => {
                self.add_extent(item, rules);
                0
            }
            KeyType::VERITY_DESC_ITEM | KeyType::VERITY_MERKLE_ITEM => {
                self.parts |= parts::VERITY;
                0
            }
            _ => self.add_names(item),
        }
    }

    /// Whether this is a symbolic link, as far as is known: its item may stand in an earlier leaf.
    fn may_be_link(&self) -> bool {
        !self.has_item() || entry_type(self.mode) == dir_type::SYMLINK
    }

    fn add_names(&mut self, item: &ItemRef<'_>) -> u64 {
        let mut sum: u64 = 0;
        names_of(item, |holder, name| match holder {
            Holder::Reference => {
                self.refs = self.refs.saturating_add(1);
                if name.directory != name.inode {
                    self.ref_sum = self.ref_sum.wrapping_add(name.link_hash());
                }
            }
            Holder::Entry => {
                self.add_entry(&name);
                sum = sum.wrapping_sub(name.entry_hash());
            }
            Holder::Index => {
                self.add_entry(&name);
                let (entry, link) = name.hashes();
                sum = sum.wrapping_add(entry);
                if name.leads_to_inode() {
                    sum = sum.wrapping_add(link.wrapping_mul(type_factor(name.entry_type)));
                }
            }
        });
        sum
    }

    fn add_entry(&mut self, name: &Name<'_>) {
        self.parts |= parts::ENTRIES;
        if name.location == KeyType::ROOT_ITEM {
            self.parts |= parts::SUBVOLUMES;
        }
        self.entry_bytes = self.entry_bytes.saturating_add(name.name.len() as u64);
    }

    fn add_extent(&mut self, item: &ItemRef<'_>, rules: &Rules<'_>) {
        let Some((extent, rest)) = FileExtentItem::read_prefix(item.data) else { return };
        let sectorsize = rules.csums.sectorsize();
        let offset = item.key.offset;
        let mut length = extent.ram_bytes.get();
        if extent.r#type == file_extent_type::INLINE {
            self.extent_bytes = self.extent_bytes.wrapping_add(length);
            self.parts |= parts::INLINE;
            if self.may_be_link()
                && let Some((last, others)) = rest.split_last()
            {
                self.parts |= if *last == 0 { parts::TERMINATED } else { 0 };
                self.parts |= if others.contains(&0) { parts::NUL } else { 0 };
            }
            length = length.checked_next_multiple_of(sectorsize).unwrap_or(u64::MAX);
        } else {
            let Some((disk, _)) = FileExtentDisk::read_prefix(rest) else { return };
            length = disk.num_bytes.get();
            self.parts |= parts::ON_DISK;
            if disk.disk_bytenr.get() != 0 {
                self.extent_bytes = self.extent_bytes.wrapping_add(length);
                self.check_csums(offset, extent, disk, rules.csums);
            }
        }
        let one = Inode {
            parts: parts::EXTENTS,
            first_extent: offset,
            extents_end: offset.saturating_add(length),
            ..Self::new(self.number)
        };
        self.join_extents(&one);
    }

    fn check_csums(&mut self, offset: u64, extent: &FileExtentItem, disk: &FileExtentDisk, csums: &CsumRuns) {
        if extent.r#type != file_extent_type::REG {
            let start = Logical(disk.disk_bytenr.get().saturating_add(disk.offset.get()));
            if csums.is_any(start, disk.num_bytes.get()) {
                self.first_summed_prealloc = self.first_summed_prealloc.min(offset);
            }
            return;
        }
        let is_compressed = extent.compression != compression::NONE;
        let coverage = match is_compressed {
            true => csums.coverage(disk.disk_bytenr.get(), disk.disk_num_bytes.get()),
            false => csums.coverage(disk.disk_bytenr.get().saturating_add(disk.offset.get()), disk.num_bytes.get()),
        };
        if matches!(coverage, Coverage::All | Coverage::Part) {
            self.parts |= parts::SUMMED;
        }
        if matches!(coverage, Coverage::None | Coverage::Part) {
            if is_compressed {
                self.parts |= parts::COMPRESSED;
            }
            self.first_unsummed = self.first_unsummed.min(offset);
        }
    }

    /// Adds the extents of a later piece.
    fn join_extents(&mut self, later: &Inode) {
        self.parts |= later.parts & parts::EXTENTS;
        if later.first_extent != NOWHERE {
            if self.first_extent == NOWHERE {
                self.first_extent = later.first_extent;
            } else if later.first_extent < self.extents_end {
                self.first_overlap = self.first_overlap.min(later.first_extent);
            } else if later.first_extent > self.extents_end {
                self.first_gap = self.first_gap.min(self.extents_end);
            }
        }
        self.extents_end = self.extents_end.max(later.extents_end);
        self.first_gap = self.first_gap.min(later.first_gap);
        self.first_overlap = self.first_overlap.min(later.first_overlap);
    }

    /// The inode with the items of a later block added.
    pub fn followed_by(mut self, later: &Inode) -> Inode {
        if later.has_item() {
            // Nothing of an inode stands before its item.
            return *later;
        }
        self.join_extents(later);
        self.parts |= later.parts;
        self.refs = self.refs.saturating_add(later.refs);
        self.ref_sum = self.ref_sum.wrapping_add(later.ref_sum);
        self.entry_bytes = self.entry_bytes.saturating_add(later.entry_bytes);
        self.extent_bytes = self.extent_bytes.wrapping_add(later.extent_bytes);
        self.first_unsummed = self.first_unsummed.min(later.first_unsummed);
        self.first_summed_prealloc = self.first_summed_prealloc.min(later.first_summed_prealloc);
        self
    }

    /// What its names take from the sum of the tree's names.
    pub fn names(&self) -> u64 {
        self.ref_sum.wrapping_mul(type_factor(entry_type(self.mode)))
    }

    /// Hands everything that does not fit to `visit`, once all items were seen.
    pub fn faults(&self, rules: &Rules<'_>, mut visit: impl FnMut(Fault)) {
        if self.is_unknown() {
            return;
        }
        if !self.has_item() {
            return visit(Fault::NoItem);
        }
        if self.nlink == 0 && self.refs == 0 {
            // Nothing else holds of a file that is about to go.
            return visit(Fault::Unlinked);
        }
        if self.nlink != self.refs {
            visit(Fault::Links);
        }
        if self.is_directory() {
            if self.refs > 1 {
                visit(Fault::ManyNames);
            }
            if self.size != self.entry_bytes {
                visit(Fault::DirectorySize);
            }
            if self.has(parts::EXTENTS | parts::VERITY) {
                visit(Fault::Items);
            }
            return;
        }
        // FIFOs, sockets and device nodes have no data, and fs-verity seals files alone.
        let entry_type = entry_type(self.mode);
        let is_misplaced = match entry_type {
            dir_type::REG_FILE => self.has(parts::ENTRIES),
            dir_type::SYMLINK => self.has(parts::ENTRIES | parts::VERITY),
            _ => self.has(parts::ENTRIES | parts::VERITY | parts::EXTENTS),
        };
        if is_misplaced {
            visit(Fault::Items);
        }
        if entry_type == dir_type::SYMLINK {
            self.link_faults(&mut visit);
        }
        self.data_faults(rules, visit);
    }

    /// The target of a symbolic link is inline, and its length the size (`btrfs_symlink`; the kernel refuses to read others).
    /// btrfs-convert put a NUL behind it.
    fn link_faults(&self, visit: &mut impl FnMut(Fault)) {
        let is_terminated = self.has(parts::TERMINATED);
        let length = self.extent_bytes;
        if self.has(parts::ON_DISK) {
            visit(Fault::LinkNotInline);
        } else if !self.has(parts::INLINE) {
            visit(Fault::LinkEmpty);
        } else if length != self.size && !(is_terminated && length.checked_sub(1) == Some(self.size)) {
            visit(Fault::LinkSize { length });
        } else if self.has(parts::NUL) || (is_terminated && length == self.size) {
            visit(Fault::LinkNul);
        }
    }

    fn data_faults(&self, rules: &Rules<'_>, mut visit: impl FnMut(Fault)) {
        let is_file = matches!(entry_type(self.mode), dir_type::REG_FILE | dir_type::SYMLINK);
        if is_file && self.nbytes != self.extent_bytes {
            visit(Fault::Bytes);
        }
        if self.first_overlap != NOWHERE {
            visit(Fault::Overlap { offset: self.first_overlap });
        }
        if is_file && !rules.no_holes {
            let gap = if self.first_extent == 0 { self.first_gap.min(self.extents_end) } else { 0 };
            if gap < self.size {
                visit(Fault::Gap { offset: gap });
            }
        }
        let has_csums = !self.has(parts::NODATASUM);
        if self.first_unsummed != NOWHERE {
            let offset = self.first_unsummed;
            if has_csums {
                visit(Fault::Unsummed { offset });
            } else if self.has(parts::COMPRESSED) {
                visit(Fault::CompressedUnsummed { offset });
            }
        }
        if !has_csums && self.has(parts::SUMMED) {
            visit(Fault::Summed);
        }
        if self.first_summed_prealloc != NOWHERE {
            visit(Fault::SummedPrealloc { offset: self.first_summed_prealloc });
        }
    }
}

/// The type that entries of an inode with this mode have.
pub fn entry_type(mode: u32) -> u8 {
    dir_type::of_mode(mode).unwrap_or(dir_type::UNKNOWN)
}

/// A number for the type of an entry, odd so that a product with it is as good a hash as before.
pub fn type_factor(entry_type: u8) -> u64 {
    mix(&[entry_type.into()]) | 1
}
