//! Images of which nothing can be read by address: the superblocks are lost, or the chunk tree is.

mod blocks;
pub mod chunk_tree;
mod chunks;
pub mod device;
mod evidence;
mod order;
pub mod superblock;
