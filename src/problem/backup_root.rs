//! Backups of roots in the superblock.

use crate::disk::Transid;
use crate::finding::findings;

findings! {
    /// Backups of roots in the superblock.
    BackupRootProblem {
        /// No backup of the present roots is the same as they. The kernel fills a slot while the next transaction runs.
        Differs("backup-root", Note, "superblock: backup root {slot} has {field} {have}, expect {expect}") {
            slot: usize, field: &'static str, have: u64, expect: u64,
        }
        /// A backup is newer than the filesystem, as after a mount from an older backup.
        Newer("backup-root-newer", Note, "superblock: backup root {slot} is of generation {have}, the filesystem of {expect}") {
            slot: usize, have: Transid, expect: Transid,
        }
        /// The present roots have no backup, as after a change by a tool.
        Missing("backup-root-missing", Note, "superblock: no backup root is of generation {expect}") { expect: Transid }
    }
}
