//! Dumps, compared with those of btrfs-progs.

mod like_btrfs_progs;
mod output;
#[path = "../support/mod.rs"]
mod support;
