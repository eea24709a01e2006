//! The chunk tree's root, where the one that the superblock names is lost.

use crate::block::verify::Expected;
use crate::disk::flags::block_group::SYSTEM;
use crate::disk::{Logical, Transid, objectid};
use crate::volume::Volume;

/// The newest block of the chunk tree that may have been its root: of the newest generation that is not above the superblock's
/// the one of the highest level. Looked for in the system chunks that the superblock lists.
pub fn newest_chunk_root(volume: &Volume) -> Option<(Logical, Transid)> {
    let format = volume.format();
    let newest = volume.superblock().generation();
    let mut buffer = Vec::new();
    let mut best: Option<((Transid, u8), Logical)> = None;
    for chunk in volume.chunks().iter().filter(|chunk| chunk.flags.contains(SYSTEM)) {
        for logical in (chunk.logical.0..chunk.end().0).step_by(format.sectorsize as usize) {
            let Ok(read) = volume.read_block(&Expected::at(Logical(logical)), &mut buffer) else { continue };
            let header = read.block.header();
            let rank = (read.block.generation(), read.block.level());
            let is_own = header.owner.get() == objectid::CHUNK_TREE && rank.0 <= newest && read.block.count() > 0;
            if is_own && best.is_none_or(|(other, _)| other < rank) {
                best = Some((rank, Logical(logical)));
            }
        }
    }
    best.map(|((generation, _), logical)| (logical, generation))
}
