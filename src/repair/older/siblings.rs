//! Which blocks stood beside each other.

use crate::block::BlockKind;
use crate::block::verify::Expected;
use crate::disk::{Key, Logical, Transid};
use crate::volume::Volume;

use super::blocks::OlderBlocks;
use super::cover::Piece;

impl OlderBlocks {
    /// Of `pieces`, which cover the lost place together, those that belong to one state of the tree: that of the node which led to
    /// the newest of them, as far as that node was found. Where a leaf of that state is there, no older leaf stands for keys that it
    /// does not have: they were deleted before. `is_root` says that the place is the root itself, which had no other leaf beside it
    /// if it was one.
    pub fn of_one_state(&self, volume: &Volume, mut pieces: Vec<Piece>, is_root: bool) -> Vec<Piece> {
        let Some(newest) = pieces.iter().filter(|piece| !piece.is_wanted).max_by_key(|piece| piece.block.generation)
        else {
            return pieces;
        };
        let newest = (newest.block.logical, newest.block.generation);
        if is_root && self.backups.contains(&newest) {
            pieces.retain(|piece| piece.is_wanted || (piece.block.logical, piece.block.generation) == newest);
            return pieces;
        }
        let Some(node) = self.pointers_to(newest.0, newest.1).max_by_key(|pointer| pointer.node_generation) else {
            return pieces;
        };
        let node = (node.node, Transid(node.node_generation));
        // Where another node begins is not known.
        let is_last_whole = self.backups.contains(&node);
        for (place, from, end) in places(volume, node).into_iter().filter(|(.., end)| is_last_whole || end.is_some()) {
            let is_there = |piece: &Piece| (piece.block.logical, piece.block.generation) == place;
            if pieces.iter().any(is_there) {
                pieces = pieces.into_iter().flat_map(|piece| without(piece, &is_there, from, end)).collect();
            }
        }
        pieces
    }
}

/// What a node leads to, and the keys for which it does: from the first one to before the second one, if there is one.
fn places(volume: &Volume, (node, generation): (Logical, Transid)) -> Vec<((Logical, Transid), Key, Option<Key>)> {
    let expected = Expected { generation: Some(generation), ..Expected::at(node) };
    let mut buffer = Vec::new();
    let Ok(read) = volume.read_block(&expected, &mut buffer) else { return Vec::new() };
    let BlockKind::Node(node) = read.block.kind() else { return Vec::new() };
    let ends = node.ptrs().iter().skip(1).map(|ptr| Some(Key::from(&ptr.key))).chain([None]);
    let places = node.ptrs().iter().zip(ends);
    places.map(|(ptr, end)| ((ptr.blockptr.into(), ptr.generation.into()), Key::from(&ptr.key), end)).collect()
}

/// What is left of a piece outside of `from..end`, if it is of another block than the one whose keys these are.
fn without(piece: Piece, is_there: &impl Fn(&Piece) -> bool, from: Key, end: Option<Key>) -> Vec<Piece> {
    if piece.is_wanted || is_there(&piece) {
        return vec![piece];
    }
    let before = from.predecessor().map(|last| Piece { to: piece.to.min(last), ..piece });
    let behind = end.map(|end| Piece { from: piece.from.max(end), ..piece });
    [before, behind].into_iter().flatten().filter(|piece| piece.from <= piece.to).collect()
}
