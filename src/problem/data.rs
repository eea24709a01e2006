//! Data and parity.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::block::verify::BlockError;
use crate::disk::objectid::tree_name;
use crate::disk::{Logical, Physical};
use crate::finding::findings;

findings! {
    /// Data and parity. A range is one on the device: of a striped chunk it begins at `logical`, and skips what lies on
    /// other devices. Lengths are in bytes.
    DataProblem {
        /// A copy of data is damaged or cannot be read, while another one, or what parity yields, is good.
        BadCopy(
            "data-bad-copy", Error,
            "data {logical}, {length} bytes on device {devid} at {physical}: {problem}; it is good elsewhere"
        ) {
            logical: Logical, length: u64, devid: u64, physical: Physical, problem: DataFault,
        }
        /// No copy of data is good.
        Lost(
            "data-lost", Fatal,
            "data {logical}, {length} bytes on device {devid} at {physical}: {problem}; no copy is good"
        ) {
            logical: Logical, length: u64, devid: u64, physical: Physical, problem: DataFault,
        }
        /// A file refers to data of which no copy is good.
        LostFile("data-lost-file", Fatal, "tree={tree} inode={inode} offset={offset}, {length} bytes are lost") {
            tree: u64 as tree_name, inode: u64, offset: u64, length: u64,
        }
        /// Parity cannot be read or is not that of its row, all data of which is good.
        Parity(
            "parity-bad", Error,
            "parity of data {logical}, {length} bytes on device {devid} at {physical}: {problem}"
        ) {
            logical: Logical, length: u64, devid: u64, physical: Physical, problem: DataFault,
        }
        /// Parity is not that of its row, a part of which has no checksums: a lost device cannot be rebuilt there.
        ParityDisagrees(
            "parity-disagrees", Warning,
            "parity of data {logical}, {length} bytes on device {devid} at {physical}: {problem}"
        ) {
            logical: Logical, length: u64, devid: u64, physical: Physical, problem: DataFault,
        }
        /// Data was left out of the image, or is placed or summed in a way that is not known: it was not verified.
        NotVerified("data-not-verified", Note, "data of chunk {logical} is not verified: {reason}") {
            logical: Logical, reason: &'static str,
        }
    }
}

/// What is wrong with a sector of a stripe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataFault {
    /// It cannot be read, or its checksum is another one.
    Bad(BlockError),
    /// Parity is not what the data of its row makes.
    NotOfRow,
}

impl fmt::Display for DataFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataFault::Bad(error) => error.fmt(f),
            DataFault::NotOfRow => f.write_str("it is not that of the row"),
        }
    }
}

impl Serialize for DataFault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
