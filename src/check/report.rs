//! What a check tells in the end.

use std::collections::BTreeMap;

use serde::Serialize;

use super::quotas::QgroupReport;
use crate::problem::{BlockProblem, DataProblem, Problem};

/// Everything that a check has found.
#[derive(Clone, Debug)]
pub struct Report {
    /// In the order of their kinds and places, each once.
    pub problems: Vec<Problem>,
    /// What was checked.
    pub totals: Totals,
    /// Of each quota group, in the order of their ids.
    pub qgroups: Vec<QgroupReport>,
}

/// What was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Bytes of all extents that the extent tree lists.
    pub bytes_used: u64,
    /// Extents that the extent tree lists.
    pub extents: u64,
    /// Inodes of all trees of files; those in leaves that trees share are counted once.
    pub inodes: u64,
    /// Trees of files that are not being deleted.
    pub subvolumes: u64,
    /// Tree blocks, shared ones counted once.
    pub blocks: u64,
    /// Copies of tree blocks that were read.
    pub copies: u64,
    /// Bytes of data whose checksums were compared, however many copies there are.
    pub data_bytes: u64,
    /// Bytes of all copies of data that were read for that.
    pub data_copies_bytes: u64,
    /// Bytes of parity that were compared with their rows.
    pub parity_bytes: u64,
    /// Devices with damaged copies, in the order of their numbers.
    pub bad_copies: Vec<BadCopies>,
}

/// How many copies of tree blocks and of ranges of data are damaged on a device while other ones are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BadCopies {
    /// Number of the device.
    pub devid: u64,
    /// Number of its damaged copies.
    pub count: u64,
}

/// The bad copies among `problems`, by device.
pub fn bad_copies(problems: &[Problem]) -> Vec<BadCopies> {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for problem in problems {
        if let Problem::Block(BlockProblem::BadCopy { devid, .. }) | Problem::Data(DataProblem::BadCopy { devid, .. }) =
            problem
        {
            *counts.entry(*devid).or_default() += 1;
        }
    }
    counts.into_iter().map(|(devid, count)| BadCopies { devid, count }).collect()
}
