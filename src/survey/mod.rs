//! What a filesystem holds, as facts that are owned and sorted, gathered in one parallel pass over all blocks.
//!
//! Nothing is judged here: [`crate::check`] compares facts, and a repair takes the same ones. What would grow with the
//! filesystem is kept as sums of hashes (`sketch`), and as records in tables that spill to files; the records behind sums
//! that do not agree are collected by a second look, when a caller asks for them ([`Survey::references`]).

mod blocks;
mod csums;
mod extent_list;
pub(crate) mod files;
mod gather;
mod in_use;
mod items;
mod job;
mod logs;
pub(crate) mod quotas;
mod records;
mod reference;
mod references;
mod sketch;
mod structure;
mod subvolumes;
mod trees;
pub mod verify;

pub use blocks::{BadBlock, BlockRecord, Blocks, Misfit, SecondLook, Unread, UsedData};
pub use csums::{Coverage, CsumRuns, Overlap, Run};
pub use extent_list::{Cursor, Extent, ExtentList};
pub use gather::{Options, Survey, gather};
pub use in_use::UsedExtent;
pub use items::{Item, Items, keys_of, keys_of_type};
pub use job::Job;
pub use logs::{LogTree, Logged, LoggedExtent};
pub use records::{ExtentReferences, ReferenceRecord, ReferenceRecords};
pub use references::{BackrefFlag, Claims, Found, Mismatch, Shape, root_reference};
pub use sketch::Buckets;
pub use structure::{NOT_UNDERSTOOD, Structure};
pub use subvolumes::{DirPlace, Root, Subvolumes};
pub use trees::{Trees, tree_of, trees_of};
