//! What may be wrong with a filesystem, as data: each kind with its code, its severity and its values.

mod backup_root;
mod block;
mod block_group;
mod chunk;
mod csum;
mod data;
mod device;
mod device_extent;
mod extent;
mod file;
mod free_space;
mod harm;
mod log;
mod name;
mod quota;
mod space_cache;
mod subvolume;
mod superblock;
mod sys_chunk_array;
mod system_space;
mod totals;
mod tree;
mod value;
mod zoned;

use std::fmt;

use crate::block::item::ItemProblem;
use crate::finding::{Finding, ProblemKind, Severity};

pub use backup_root::BackupRootProblem;
pub use block::{BlockProblem, Unusable};
pub use block_group::BlockGroupProblem;
pub use chunk::ChunkProblem;
pub use csum::ChecksumProblem;
pub use data::{DataFault, DataProblem};
pub use device::DeviceProblem;
pub use device_extent::DeviceExtentProblem;
pub use extent::ExtentProblem;
pub use file::FileProblem;
pub use free_space::FreeSpaceProblem;
pub use harm::Harm;
pub use log::LogProblem;
pub use name::NameProblem;
pub use quota::QuotaProblem;
pub use space_cache::{CacheFault, SpaceCacheProblem};
pub use subvolume::SubvolumeProblem;
pub use superblock::{Generations, SuperblockProblem};
pub use sys_chunk_array::SysChunkArrayProblem;
pub use system_space::SystemSpaceProblem;
pub use totals::{Sizes, TotalsProblem};
pub use tree::StructureProblem;
pub use value::{Expect, FileName, Value};
pub use zoned::ZonedProblem;

macro_rules! problem_groups {
    ($($variant:ident($group:ty),)*) => {
        /// A finding of any kind. The order is that of the report.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
        #[serde(untagged)]
        pub enum Problem {
            $(
                #[doc = concat!("See [`", stringify!($group), "`].")]
                $variant($group),
            )*
        }

        impl Problem {
            /// All kinds of problems, for the manual.
            pub fn kinds() -> impl Iterator<Item = &'static ProblemKind> {
                std::iter::empty()$(.chain(<$group>::kinds()))*
            }
        }

        impl fmt::Display for Problem {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant(problem) => problem.fmt(f),)*
                }
            }
        }

        impl Finding for Problem {
            fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant(problem) => problem.code(),)*
                }
            }

            fn severity(&self) -> Severity {
                match self {
                    $(Self::$variant(problem) => problem.severity(),)*
                }
            }
        }

        $(
            impl From<$group> for Problem {
                fn from(problem: $group) -> Self {
                    Self::$variant(problem)
                }
            }
        )*
    };
}

problem_groups! {
    Superblock(SuperblockProblem),
    BackupRoot(BackupRootProblem),
    SysChunkArray(SysChunkArrayProblem),
    Chunk(ChunkProblem),
    Device(DeviceProblem),
    DeviceExtent(DeviceExtentProblem),
    Zoned(ZonedProblem),
    BlockGroup(BlockGroupProblem),
    SystemSpace(SystemSpaceProblem),
    FreeSpace(FreeSpaceProblem),
    SpaceCache(SpaceCacheProblem),
    Log(LogProblem),
    Totals(TotalsProblem),
    Structure(StructureProblem),
    Block(BlockProblem),
    Item(ItemProblem),
    Extent(ExtentProblem),
    Checksum(ChecksumProblem),
    Data(DataProblem),
    Subvolume(SubvolumeProblem),
    Quota(QuotaProblem),
    Name(NameProblem),
    File(FileProblem),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Problem;

    #[test]
    fn a_code_is_that_of_one_kind_of_problem() {
        let mut codes = BTreeSet::new();
        for kind in Problem::kinds() {
            assert!(codes.insert(kind.code), "{}", kind.code);
        }
    }
}
