//! What a check has found.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::finding::{Finding, Kind, Severity};
use crate::parallel::lock;

macro_rules! problem_groups {
    ($($variant:ident($group:ty),)*) => {
        /// A finding of any kind. The order is that of the report.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
        #[serde(untagged)]
        pub enum Problem {
            $($variant($group),)*
        }

        impl Problem {
            /// All kinds of problems, for the manual.
            pub fn kinds() -> impl Iterator<Item = &'static Kind> {
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
    Superblock(super::superblocks::SuperblockProblem),
    BackupRoot(super::backup_roots::BackupRootProblem),
    SystemArray(super::system_array::SystemArrayProblem),
    Chunk(super::chunks::ChunkProblem),
    Device(super::devices::DeviceProblem),
    DeviceExtent(super::device_extents::DeviceExtentProblem),
    Zoned(super::zoned::ZonedProblem),
    BlockGroup(super::block_groups::BlockGroupProblem),
    SystemSpace(super::system_space::SystemSpaceProblem),
    FreeSpace(super::free_space::FreeSpaceProblem),
    SpaceCache(super::space_cache::SpaceCacheProblem),
    Log(super::log_trees::LogProblem),
    Totals(super::totals::TotalsProblem),
    Structure(super::structure::StructureProblem),
    Block(super::scan::BlockProblem),
    Item(crate::block::item::ItemProblem),
    Extent(super::extents::ExtentProblem),
    Checksum(super::checksums::ChecksumProblem),
    Data(super::data::DataProblem),
    Subvolume(super::subvolumes::SubvolumeProblem),
    Quota(super::quotas::QuotaProblem),
    Name(super::files::NameProblem),
    File(super::files::FileProblem),
}

/// Collects problems from all threads.
#[derive(Debug, Default)]
pub struct Findings {
    problems: Mutex<Vec<Problem>>,
}

impl Findings {
    pub fn report(&self, problem: impl Into<Problem>) {
        lock(&self.problems).push(problem.into());
    }

    /// All problems in order, each once.
    pub fn into_sorted(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner().unwrap_or_else(PoisonError::into_inner);
        problems.sort();
        problems.dedup();
        problems
    }
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
