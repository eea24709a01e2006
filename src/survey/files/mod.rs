//! Inodes, and the names that lead to them.
//!
//! Each leaf is summed up once, however many trees share it (`summary`); what of it depends on its neighbours is
//! settled by joining these summaries along the nodes (`forest`). Names are kept as sums of hashes; the names of a tree
//! whose sum is not zero are collected by a second look (`name_records`).

mod forest;
mod inode;
mod name_records;
mod names;
mod special;
mod summary;

pub use forest::{Forest, Seen};
pub use inode::{Fault, Inode, Rules};
pub use name_records::{NameRecord, NameRecords, collect_names, find_inode, unequal_names};
pub use names::{Holder, names_of};
