//! Inodes, orphans, the ranges of log trees and verity items.

use crate::block::ItemRef;
use crate::disk::inode::{DirLogItem, InodeItem, VerityDescriptorItem};
use crate::disk::{Key, KeyType, flags, objectid};
use crate::finding::findings;

use super::{Context, is_fs_tree, is_inode_number};

findings! {
    /// Damage to an inode or to what says something of a whole inode.
    InodeDamage {
        /// The number of an inode is none that an inode can have.
        Number("inode-number", Error, "invalid inode number, have {have}") { have: u64 }
        /// The key of an inode item has an offset.
        KeyOffset("inode-key-offset", Error, "invalid key offset for inode item, have {have} expect 0") { have: u64 }
        /// The items of an inode begin without an inode item.
        Missing("inode-item-not-first", Error, "no inode item before this item, previous key {previous}") { previous: Key }
        /// An inode item does not have its size.
        Size("inode-item-size", Error, "invalid inode item size, have {have} expect {expect}") { have: u32, expect: u32 }
        /// An inode was made in a generation that the superblock does not know.
        Generation("inode-generation", Error, "invalid inode generation, have {have} expect [0, {limit}]") {
            have: u64, limit: u64,
        }
        /// An inode was changed in a generation that the superblock does not know.
        Transid("inode-transid", Error, "invalid inode transid, have {have} expect [0, {limit}]") {
            have: u64, limit: u64,
        }
        /// The mode of an inode is of no kind of file, or has bits that are not known.
        Mode("inode-mode", Error, "invalid inode mode, have {have:#o}") { have: u32 }
        /// A directory has more than one link.
        DirLinks("inode-dir-nlink", Error, "invalid nlink of a directory, have {have} expect no more than 1") { have: u32 }
        /// An inode has flags that are not known.
        Flags("inode-flags", Error, "unknown inode flags, have {have:#x} of which {unknown:#x} are unknown") {
            have: u64, unknown: u64,
        }
        /// An inode has flags that no kernel sets on its kind of file.
        KindFlags("inode-flags-kind", Error, "inode flags {flags:#x} of mode {mode:#o}, which none of its kind has") {
            flags: u64, mode: u32,
        }
        /// The size of an inode is more than a file can have.
        FileSize("inode-size", Error, "invalid file size, have {have} expect [0, {limit}]") { have: u64, limit: u64 }
        /// A time of an inode has a billion nanoseconds or more.
        Time("inode-time", Warning, "invalid nanoseconds of {field}, have {have} expect less than 1000000000") {
            field: &'static str, have: u32,
        }
        /// The key of an orphan item is not that of orphan items.
        OrphanKey("orphan-key", Error, "invalid key objectid for orphan item, have {have} expect {expect}") {
            have: u64, expect: u64,
        }
        /// An orphan item is not empty.
        OrphanSize("orphan-size", Error, "invalid orphan item size, have {have} expect 0") { have: u32 }
        /// A directory range of a log tree does not have its size.
        DirLogSize("dir-log-size", Error, "invalid directory log item size, have {have} expect {expect}") {
            have: u32, expect: u32,
        }
        /// A directory range of a log tree ends before it begins.
        DirLogRange("dir-log-range", Error, "invalid directory log range, end {have} expect at least {least}") {
            have: u64, least: u64,
        }
        /// A verity descriptor item does not have its size, or has nothing in it.
        VerityDescriptorSize(
            "verity-descriptor-size", Error, "invalid verity descriptor item size, have {have} expect at least {least}"
        ) { have: u32, least: u32 }
        /// A verity descriptor is encrypted, which is not known.
        VerityEncryption("verity-encryption", Error, "invalid encryption of verity descriptor, have {have} expect 0") {
            have: u8,
        }
        /// A verity Merkle tree item is empty.
        VerityMerkleSize("verity-merkle-size", Error, "invalid verity Merkle tree item size, have 0") { }
        /// A verity Merkle tree item begins before the one before it ends.
        VerityMerkleOverlap("verity-merkle-overlap", Error, "verity Merkle tree item overlaps the previous one, which ends at {previous_end}") {
            previous_end: u64,
        }
    }
}

const S_IFMT: u32 = 0o170000;
pub(super) const S_IFDIR: u32 = 0o040000;
const S_IFREG: u32 = 0o100000;
/// FIFO, character device, directory, block device, file, symbolic link, socket.
const FILE_KINDS: [u32; 7] = [0o010000, 0o020000, S_IFDIR, 0o060000, S_IFREG, 0o120000, 0o140000];
const MODE_BITS: u32 = S_IFMT | 0o7777;

/// Flags, and the kinds of files on which a kernel sets them. The flag of a root item's own inode is on no other; files and
/// directories alone have attributes that a person sets, and files alone are sealed by fs-verity.
const KIND_FLAGS: [(u64, &[u32]); 4] = [
    (flags::inode::IMMUTABLE, &[S_IFREG, S_IFDIR]),
    (flags::inode::APPEND, &[S_IFREG, S_IFDIR]),
    (flags::inode::RO_VERITY, &[S_IFREG]),
    (flags::inode::ROOT_ITEM_INIT, &[]),
];

const NANOSECONDS: u32 = 1_000_000_000;

/// Verifies the inode number in an item's key, and that an inode item came before it. Log trees hold parts of inodes.
pub(super) fn check_number(cx: &mut Context<'_>, key: Key) {
    // In the root tree mkfs gives the top-level subvolume a name, as if it were an inode.
    let is_named_root = cx.tree == objectid::ROOT_TREE && key.objectid == objectid::FS_TREE;
    if !is_inode_number(key.objectid) && !is_named_root {
        cx.found(InodeDamage::Number { have: key.objectid });
    } else if is_fs_tree(cx.tree)
        && let Some(previous) = cx.previous
        && previous.key.objectid != key.objectid
    {
        cx.found(InodeDamage::Missing { previous: previous.key });
    }
}

pub(super) fn check_inode(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    if !is_inode_number(item.key.objectid) {
        cx.found(InodeDamage::Number { have: item.key.objectid });
    }
    if item.key.offset != 0 {
        cx.found(InodeDamage::KeyOffset { have: item.key.offset });
    }
    let Some(inode) = cx.exact::<InodeItem, _>(item.data, |have, expect| InodeDamage::Size { have, expect }) else {
        return;
    };
    let limit = cx.rules.newest();
    if inode.generation.get() > limit {
        cx.found(InodeDamage::Generation { have: inode.generation.get(), limit });
    }
    if inode.transid.get() > limit {
        cx.found(InodeDamage::Transid { have: inode.transid.get(), limit });
    }
    let mode = inode.mode.get();
    if mode & !MODE_BITS != 0 || !FILE_KINDS.contains(&(mode & S_IFMT)) {
        cx.found(InodeDamage::Mode { have: mode });
    }
    if mode & S_IFMT == S_IFDIR && inode.nlink.get() > 1 {
        cx.found(InodeDamage::DirLinks { have: inode.nlink.get() });
    }
    const KNOWN: u64 = flags::all(flags::inode::NAMES);
    let unknown = inode.flags.get() & !KNOWN;
    if unknown != 0 {
        cx.found(InodeDamage::Flags { have: inode.flags.get(), unknown });
    }
    let kind = mode & S_IFMT;
    let forbidden = KIND_FLAGS.iter().filter(|(_, kinds)| !kinds.contains(&kind)).fold(0, |all, (flag, _)| all | flag);
    if inode.flags.get() & forbidden != 0 && FILE_KINDS.contains(&kind) {
        cx.found(InodeDamage::KindFlags { flags: inode.flags.get() & forbidden, mode });
    }
    if i64::try_from(inode.size.get()).is_err() {
        cx.found(InodeDamage::FileSize { have: inode.size.get(), limit: i64::MAX as u64 });
    }
    // Kernels before 3.19 left the otime as it was in memory.
    let times = [("atime", inode.atime), ("ctime", inode.ctime), ("mtime", inode.mtime)];
    for (field, time) in times {
        if time.nsec.get() >= NANOSECONDS {
            cx.found(InodeDamage::Time { field, have: time.nsec.get() });
        }
    }
}

pub(super) fn check_orphan(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    if item.key.objectid != objectid::ORPHAN {
        cx.found(InodeDamage::OrphanKey { have: item.key.objectid, expect: objectid::ORPHAN });
    }
    if !item.data.is_empty() {
        cx.found(InodeDamage::OrphanSize { have: item.data.len() as u32 });
    }
}

pub(super) fn check_dir_log(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    check_number(cx, item.key);
    let size = |have, expect| InodeDamage::DirLogSize { have, expect };
    if let Some(range) = cx.exact::<DirLogItem, _>(item.data, size)
        && range.end.get() < item.key.offset
    {
        cx.found(InodeDamage::DirLogRange { have: range.end.get(), least: item.key.offset });
    }
}

/// At offset 0 stands our header, from offset 1 on the descriptor of fs-verity, in parts (fs/btrfs/verity.c).
pub(super) fn check_verity_descriptor(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    check_number(cx, item.key);
    let have = item.data.len() as u32;
    if item.key.offset == 0 {
        let size = |have, least| InodeDamage::VerityDescriptorSize { have, least };
        if let Some(descriptor) = cx.exact::<VerityDescriptorItem, _>(item.data, size)
            && descriptor.encryption != 0
        {
            cx.found(InodeDamage::VerityEncryption { have: descriptor.encryption });
        }
    } else if have == 0 {
        cx.found(InodeDamage::VerityDescriptorSize { have, least: 1 });
    }
}

pub(super) fn check_verity_merkle(cx: &mut Context<'_>, item: &ItemRef<'_>) {
    check_number(cx, item.key);
    if item.data.is_empty() {
        cx.found(InodeDamage::VerityMerkleSize {});
    }
    if let Some(previous) = cx.previous_alike(item) {
        let previous_end = previous.key.offset.saturating_add(previous.data.len() as u64);
        if previous_end > item.key.offset && previous.key < item.key {
            cx.found(InodeDamage::VerityMerkleOverlap { previous_end });
        }
    }
}

/// Whether a key in a directory entry or a cache header leads to an inode.
pub(super) fn is_inode_location(key: Key) -> bool {
    key.key_type == KeyType::INODE_ITEM && is_inode_number(key.objectid) && key.offset == 0
}
