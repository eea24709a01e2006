//! Verification of a whole filesystem, read-only: facts of a survey are compared, and what does not agree is a problem.
//!
//! Problems come out in one order whatever the number of threads: they are sorted.

mod backup_roots;
mod block_groups;
mod blocks;
mod chunk_checks;
mod chunk_fault;
mod chunks;
mod csums;
mod data;
mod device_checks;
mod device_extents;
mod devices;
mod extents;
mod files;
mod findings;
mod free_ranges;
mod free_space;
mod log_trees;
mod names;
mod prealloc;
mod quotas;
mod report;
mod run;
mod space_cache;
mod space_cache_file;
mod structure;
mod subvolumes;
mod superblock_fields;
mod superblocks;
mod sys_chunk_array;
mod system_space;
mod totals;
mod zoned;

pub use quotas::QgroupReport;
pub use report::{BadCopies, Report, Totals};
pub use run::{Options, check, check_structure, check_superblocks, check_survey};
