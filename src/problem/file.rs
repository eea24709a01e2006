//! Inodes and what belongs to them.

use crate::disk::objectid::tree_name;
use crate::finding::findings;

findings! {
    /// Inodes and what belongs to them.
    FileProblem {
        /// A tree of files does not begin with a root directory.
        RootDirectory("root-directory-missing", Error, "tree={tree}, the root directory is missing") { tree: u64 as tree_name }
        /// There are items of an inode, but no inode item.
        NoItem("inode-item-missing", Error, "tree={tree} inode={inode}, the inode item is missing") {
            tree: u64 as tree_name, inode: u64,
        }
        /// An inode does not have as many names as it counts.
        Links("inode-nlink", Error, "tree={tree} inode={inode}, invalid nlink, have {have} expect {expect}") {
            tree: u64 as tree_name, inode: u64, have: u32, expect: u32,
        }
        /// An inode has no name, and no orphan item that would make it go away.
        NotOrphan("inode-orphan-missing", Error, "tree={tree} inode={inode}, nlink is 0 but there is no orphan item") {
            tree: u64 as tree_name, inode: u64,
        }
        /// A directory has more than one name.
        ManyNames("directory-names", Error, "tree={tree} inode={inode}, a directory with {have} names") {
            tree: u64 as tree_name, inode: u64, have: u32,
        }
        /// The size of a directory is not that of the names in it.
        DirectorySize("directory-size", Error, "tree={tree} inode={inode}, invalid size, have {have} expect {expect}") {
            tree: u64 as tree_name, inode: u64, have: u64, expect: u64,
        }
        /// The bytes that a file is said to occupy are not those that its extents do.
        Bytes("inode-nbytes", Error, "tree={tree} inode={inode}, invalid nbytes, have {have} expect {expect}") {
            tree: u64 as tree_name, inode: u64, have: u64, expect: u64,
        }
        /// Items that an inode of this kind does not have: extents, entries of directories, or those of fs-verity.
        Items("inode-items", Error, "tree={tree} inode={inode}, items that do not fit mode {mode:#o}") {
            tree: u64 as tree_name, inode: u64, mode: u32,
        }
        /// Two extents of a file hold the same part of it.
        Overlap("file-extent-overlap", Error, "tree={tree} inode={inode} offset={offset}, file extents overlap") {
            tree: u64 as tree_name, inode: u64, offset: u64,
        }
        /// A part of a file has no extent, which needs the feature no-holes.
        Gap("file-extent-missing", Error, "tree={tree} inode={inode} offset={offset}, no file extent, nor a hole") {
            tree: u64 as tree_name, inode: u64, offset: u64,
        }
        /// Data lacks checksums.
        Unsummed("csum-missing", Error, "tree={tree} inode={inode} offset={offset}, data lacks checksums") {
            tree: u64 as tree_name, inode: u64, offset: u64,
        }
        /// Compressed data lacks checksums: a file without them must not be compressed.
        CompressedUnsummed(
            "csum-missing-compressed", Error,
            "tree={tree} inode={inode} offset={offset}, compressed data lacks checksums, the inode is nodatasum"
        ) {
            tree: u64 as tree_name, inode: u64, offset: u64,
        }
        /// Data of a file that is marked to have no checksums has some.
        Summed("csum-unexpected", Warning, "tree={tree} inode={inode}, nodatasum, but data has checksums") {
            tree: u64 as tree_name, inode: u64,
        }
        /// Preallocated data, which was never written, has checksums.
        SummedPrealloc(
            "csum-prealloc", Warning, "tree={tree} inode={inode} offset={offset}, preallocated data has checksums"
        ) {
            tree: u64 as tree_name, inode: u64, offset: u64,
        }
        /// The target of a symbolic link is not inline.
        LinkNotInline("link-not-inline", Error, "tree={tree} inode={inode}, a symbolic link whose target is not inline") {
            tree: u64 as tree_name, inode: u64,
        }
        /// A symbolic link has no target.
        LinkEmpty("link-empty", Error, "tree={tree} inode={inode}, a symbolic link without a target") {
            tree: u64 as tree_name, inode: u64,
        }
        /// The size of a symbolic link is not the length of its target.
        LinkSize("link-size", Error, "tree={tree} inode={inode}, invalid size of a symbolic link, have {have} expect {expect}") {
            tree: u64 as tree_name, inode: u64, have: u64, expect: u64,
        }
        /// The target of a symbolic link has a NUL in it.
        LinkNul("link-nul", Error, "tree={tree} inode={inode}, the target of a symbolic link has a NUL in it") {
            tree: u64 as tree_name, inode: u64,
        }
    }
}
