//! Subvolumes and what else hangs on the root tree.

use crate::disk::fields::Uuid;
use crate::disk::{Key, Logical};
use crate::finding::findings;

use super::value::FileName;

findings! {
    /// Subvolumes and what else hangs on the root tree.
    SubvolumeProblem {
        /// A subvolume does not know where it stands in its parent.
        NoBackReference("subvolume-backref-missing", Error, "subvolume {subvolume}, no back reference to {parent}") {
            subvolume: u64, parent: u64,
        }
        /// A parent does not know a subvolume that stands in it.
        NoReference("subvolume-ref-missing", Error, "subvolume {subvolume}, no reference from {parent}") {
            subvolume: u64, parent: u64,
        }
        /// Reference and back reference name different places.
        Disagreement(
            "subvolume-refs-disagree", Error,
            "subvolume {subvolume}, reference from {parent} and back reference name different places"
        ) {
            subvolume: u64, parent: u64,
        }
        /// A subvolume does not stand in the directory where its parent says.
        NoName(
            "subvolume-name-missing", Error,
            "subvolume {subvolume}, name {name} in directory {directory} of {parent} does not lead to it"
        ) {
            subvolume: u64, parent: u64, directory: u64, name: FileName,
        }
        /// No way leads from the top level to a subvolume.
        Unreachable("subvolume-unreachable", Error, "subvolume {subvolume} cannot be reached from the top level") {
            subvolume: u64,
        }
        /// There are references to a subvolume without a root item, or to one that is deleted.
        NoSubvolume("subvolume-missing", Error, "subvolume {subvolume} is deleted or missing, {parent} refers to it") {
            subvolume: u64, parent: u64,
        }
        /// A deleted subvolume has no orphan item, so that its space is never freed.
        NotOrphan("subvolume-orphan-missing", Warning, "subvolume {subvolume} is deleted but has no orphan item") {
            subvolume: u64,
        }
        /// The uuid of a subvolume is not in the uuid tree.
        NoUuid("uuid-missing", Warning, "subvolume {subvolume}, uuid {uuid} is not in the uuid tree") {
            subvolume: u64, uuid: Uuid,
        }
        /// The uuid tree leads to a subvolume that is not there or has another uuid.
        UnfoundedUuid("uuid-unfounded", Warning, "uuid tree, {uuid} is not that of subvolume {subvolume}") {
            subvolume: u64, uuid: Uuid,
        }
        /// An entry of the root tree's directory leads to nothing: of the default subvolume, what is mounted if no other is named.
        NoDefault("root-entry-dangling", Error, "root tree, entry {name} leads to {location}, which does not exist") {
            name: FileName, location: Key,
        }
        /// A block group's free space cache has no file; the kernel makes a new one.
        NoCacheFile("space-cache-inode-missing", Warning, "block group {block_group}, cache inode {inode} is missing") {
            block_group: Logical, inode: u64,
        }
    }
}
