//! Repairs: what they go by, what becomes of damaged filesystems, and how they are undone.

mod addresses;
mod chunk_tree;
mod command;
mod copies;
mod corpus;
mod crash;
mod csums;
mod data;
mod devices;
mod evidence;
mod lost_writes;
mod names;
mod outcome;
mod random;
mod space;
mod superblock;
#[path = "../support/mod.rs"]
mod support;
mod undo;
