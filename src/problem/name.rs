//! Names in directories.

use crate::disk::objectid::tree_name;
use crate::finding::findings;

use super::value::FileName;

findings! {
    /// Names: entries of directories against their counterparts.
    NameProblem {
        /// A name is not in the index of its directory: listing the directory does not show it.
        NoIndex(
            "name-index-missing", Error,
            "tree={tree} directory={directory} name={name} inode={inode}, the directory index is missing"
        ) {
            tree: u64 as tree_name, directory: u64, name: FileName, inode: u64,
        }
        /// A name is not in the entries of its directory: opening the name does not find it.
        NoEntry(
            "name-entry-missing", Error,
            "tree={tree} directory={directory} name={name} inode={inode}, the directory entry is missing"
        ) {
            tree: u64 as tree_name, directory: u64, name: FileName, inode: u64,
        }
        /// An inode does not know one of its names.
        NoReference(
            "name-backref-missing", Error,
            "tree={tree} directory={directory} name={name} inode={inode}, the inode has no reference to the name"
        ) {
            tree: u64 as tree_name, directory: u64, name: FileName, inode: u64,
        }
        /// A name leads to an inode that does not exist.
        NoInode(
            "name-inode-missing", Error,
            "tree={tree} directory={directory} name={name} inode={inode}, the inode does not exist"
        ) {
            tree: u64 as tree_name, directory: u64, name: FileName, inode: u64,
        }
        /// Entry and index of a name lead to different inodes.
        Target(
            "name-target", Error,
            "tree={tree} directory={directory} name={name}, entry leads to inode {have}, index to {expect}"
        ) {
            tree: u64 as tree_name, directory: u64, name: FileName, have: u64, expect: u64,
        }
        /// A name stands in its directory more than once.
        Duplicate(
            "name-duplicate", Error, "tree={tree} directory={directory} name={name} inode={inode}, more than once there"
        ) {
            tree: u64 as tree_name, directory: u64, name: FileName, inode: u64,
        }
        /// An inode knows one of its names by another index than the directory.
        Index(
            "name-index", Error,
            "tree={tree} directory={directory} name={name} inode={inode}, invalid index, have {have} expect {expect}"
        ) {
            tree: u64 as tree_name, directory: u64, name: FileName, inode: u64, have: u64, expect: u64,
        }
        /// The type in a directory is not that of the inode.
        Type(
            "name-type", Error,
            "tree={tree} directory={directory} name={name} inode={inode}, invalid type, have {have} expect {expect}"
        ) {
            tree: u64 as tree_name, directory: u64, name: FileName, inode: u64, have: u8, expect: u8,
        }
    }
}
