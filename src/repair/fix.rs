//! What a repair does, as data.

use crate::block::verify::BlockError;
use crate::disk::objectid::tree_name;
use crate::disk::{Key, Logical, Physical, Transid};
use crate::finding::findings;
use crate::problem::FileName;

findings! {
    /// What a repair does. Notes lose nothing; warnings tell what is given up.
    Fix {
        /// All copies of the superblock are written anew.
        Superblocks("superblocks-written", Note, "all copies of the superblock are written anew") {}
        /// No superblock is left, and one is made of the trees that were found.
        SuperblockMade(
            "superblock-made", Warning,
            "no superblock is left: one is made that leads to the trees found at {root} and {chunk_root} (chunk tree), of generation \
             {generation}; the label and what a log held are lost"
        ) {
            root: Logical, chunk_root: Logical, generation: Transid,
        }
        /// A device of several has lost all its superblocks, and gets one.
        DeviceSuperblock("device-superblock-made", Note, "device {devid}: it has no superblock left, it gets that of the others") {
            devid: u64,
        }
        /// The chunk tree is lost, and made of what else knows of chunks.
        ChunkTreeMade("chunk-tree-made", Note, "the chunk tree is made anew: {count} chunks, by device extents, block groups and what is there") {
            count: u64,
        }
        /// The root tree is lost, and made of the roots that are found.
        RootTreeMade(
            "root-tree-made", Warning,
            "the root tree is made anew, of {count} trees that are found: uuids, times and flags of subvolumes are lost"
        ) {
            count: u64,
        }
        /// A field of the superblock is set.
        SuperblockField("superblock-field-set", Note, "superblock: {field} is set to {value}") {
            field: &'static str, value: u64,
        }
        /// A device has the number of another one in its superblock, and gets its own.
        DeviceNumber("device-number-set", Note, "device {devid}: its superblock says that it is device {have}, and is written anew") {
            devid: u64, have: u64,
        }
        /// A good copy is written over a bad one.
        Copy(
            "copy-written", Note,
            "tree={tree} block={block}: the copy on device {devid} at {physical} is written anew from a good one"
        ) {
            tree: u64 as tree_name, block: Logical, devid: u64, physical: Physical,
        }
        /// A good copy of data is written over a bad one.
        Data(
            "data-copy-written", Note,
            "data {logical}, {length} bytes: the copy on device {devid} at {physical} is written anew from a good one"
        ) {
            logical: Logical, length: u64, devid: u64, physical: Physical,
        }
        /// Parity is written anew, by the data of its row.
        Parity(
            "parity-written", Note,
            "parity of data {logical}, {length} bytes: that on device {devid} at {physical} is written anew by its row"
        ) {
            logical: Logical, length: u64, devid: u64, physical: Physical,
        }
        /// One bit of a checksum is put back: all copies of the data agree but for it.
        ChecksumBit("checksum-bit-put-back", Note, "data {logical}: a bit of its checksum is put back, all copies have that one") {
            logical: Logical,
        }
        /// The trees that tell of extents and free space are built anew, out of what refers to extents.
        Space("space-rebuilt", Note, "extents, block groups and free space are noted anew, by what refers to them") {}
        /// Block groups and free space are noted anew, out of what is in use.
        FreeSpace("free-space-rebuilt", Note, "block groups and free space are noted anew, by what is in use") {}
        /// The device tree is built anew out of the chunks.
        DeviceTree("device-tree-rebuilt", Note, "the device tree is built anew out of the chunks") {}
        /// One bit is put back: it is the only one with which everything agrees.
        Flip("bit-put-back", Note, "tree={tree} block={block}: bit {bit} of byte {offset} is put back ({field})") {
            tree: u64 as tree_name, block: Logical, offset: u64, bit: u8, field: String,
        }
        /// A pointer leads to the block that it was to lead to: it is the only one that one flipped bit leads to.
        Pointer("pointer-put-back", Note, "tree={tree} block={block}: a bit of the pointer to it is put back ({field})") {
            tree: u64 as tree_name, block: Logical, field: String,
        }
        /// A lost block is taken from where the disk has written it.
        Stray("block-of-elsewhere", Note, "tree={tree} block={block}: lost, but written at {place}, and taken from there") {
            tree: u64 as tree_name, block: Logical, place: Logical,
        }
        /// A block is written anew, with what it holds and a header as it should be.
        Block("block-written", Note, "tree={tree} block={block}: it is written anew with what it holds") {
            tree: u64 as tree_name, block: Logical,
        }
        /// An item is written anew.
        Item("item-written", Note, "tree={tree} item {key}: {what}") { tree: u64 as tree_name, key: Key, what: &'static str }
        /// A name is put back in its place, by what still knows of it.
        Name("name-written", Note, "tree={tree} directory={directory} name={name} inode={inode}: {what}") {
            tree: u64 as tree_name, directory: u64, name: FileName, inode: u64, what: &'static str,
        }
        /// An inode without a name gets one in lost+found.
        Found("inode-found", Note, "tree={tree} inode={inode}: it is given the name {name} in lost+found") {
            tree: u64 as tree_name, inode: u64, name: FileName,
        }
        /// Checksums of data are made of what is there.
        Checksums("checksums-made", Warning, "data {logical}, {length} bytes: checksums are made of what is there now") {
            logical: Logical, length: u64,
        }
        /// The checksum tree is made anew.
        ChecksumTree("checksum-tree-made", Warning, "the checksum tree is made anew: {what}") { what: &'static str }
        /// An item that makes no sense is taken out.
        ItemGone("item-given-up", Warning, "tree={tree} item {key} is given up: {why}") {
            tree: u64 as tree_name, key: Key, why: String,
        }
        /// A name that leads to nothing is taken out.
        NameGone("name-given-up", Warning, "tree={tree} directory={directory} name={name}: the name is given up, {why}") {
            tree: u64 as tree_name, directory: u64, name: FileName, why: &'static str,
        }
        /// An earlier version of a lost block is taken.
        Older(
            "block-of-before", Warning,
            "tree={tree} block={block}: lost ({problem}), an earlier version of generation {generation} takes its place"
        ) {
            tree: u64 as tree_name, block: Logical, problem: String, generation: Transid,
        }
        /// The root of a tree is lost, and an earlier one takes its place.
        Root("root-of-before", Warning, "the root of tree {tree} is lost, the one at {block} of generation {generation} takes its place") {
            tree: u64 as tree_name, block: Logical, generation: Transid,
        }
        /// Blocks that hung below a lost node hang below a new one.
        Attached("blocks-attached", Warning, "tree={tree} block={block}: lost, {count} blocks below it are attached again") {
            tree: u64 as tree_name, block: Logical, count: u64,
        }
        /// A block is lost, and with it all that only it held.
        BlockGone("block-given-up", Warning, "tree={tree} block={block} level={level} is given up: {problem}") {
            tree: u64 as tree_name, block: Logical, level: u8, problem: String,
        }
        /// Writes that a log was to save are given up.
        Log("log-given-up", Warning, "the log tree is given up: what was written since the last commit and saved by fsync is lost") {}
    }
}

impl Fix {
    /// Whether anything is given up for it.
    pub fn gives_up(&self) -> bool {
        crate::finding::Finding::is_damage(self)
    }

    /// Whether it puts back a bit that had flipped.
    pub fn is_of_flipped_bit(&self) -> bool {
        matches!(self, Self::Flip { .. } | Self::Pointer { .. } | Self::ChecksumBit { .. })
    }

    /// That a block is lost for this reason.
    pub fn block_gone(tree: u64, block: Logical, level: u8, error: Option<&BlockError>) -> Self {
        let problem = error.map_or("no chunk holds this address".to_owned(), ToString::to_string);
        Self::BlockGone { tree, block, level, problem }
    }
}
