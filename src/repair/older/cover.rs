//! What hangs below a lost node.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::disk::{Key, Transid};

use super::block::OlderBlock;
use super::blocks::OlderBlocks;
use super::lineage::Lineage;

/// A block, and which of its keys count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The block.
    pub block: OlderBlock,
    /// Whether the extent tree has a reference to the block that no block has which was read: it is what a lost node of the
    /// lineage led to.
    pub is_wanted: bool,
    /// The first of them.
    pub from: Key,
    /// The last of them.
    pub to: Key,
}

/// A block that may be taken.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    block: OlderBlock,
    is_wanted: bool,
    /// Whether something that was found leads to it.
    is_committed: bool,
}

/// The first and the last key.
type Range = (Key, Key);

/// Blocks that are sorted at once.
const BATCH: usize = 1 << 16;

impl OlderBlocks {
    /// Blocks of a level that hold the keys from `from` to before `end`, of the lineage and not newer than `newest`, in the order
    /// of their keys: for a lost node those of the level below, for a lost leaf other leaves. Where several hold a key, that counts
    /// which a lost node led to, and then the newest, for each change of an item writes its leaf anew. What is left of a block may
    /// be several pieces, and a block of which nothing is left is not there. A transaction may have written a leaf several times:
    /// its commit counts, which a node that was found or a backup root leads to, and else the one that was allocated last.
    ///
    /// Between two blocks an older one may have keys that were deleted since with all their leaf. Where the extent tree could be
    /// read, what is not wanted below a lost node can only stand for a block that could not be read.
    pub fn cover(
        &self,
        level: u8,
        (from, end): (Option<Key>, Option<Key>),
        lineage: &Lineage,
        newest: Transid,
    ) -> Vec<Piece> {
        let last = end.map_or(Some(Key::MAX), Key::predecessor);
        let Some(bounds) = last.map(|last| (from.unwrap_or(Key::MIN), last)).filter(|(from, last)| from <= last) else {
            return Vec::new();
        };
        let (mut cover, mut batch) = (Vec::new(), Vec::new());
        for block in self.of_level(level).take_while(|block| block.first.objectid <= bounds.1.objectid) {
            if block.generation <= newest && block.reaches(from, end) && lineage.has(&block) {
                batch.push(Candidate {
                    block,
                    is_wanted: self.is_wanted(block.logical, lineage),
                    is_committed: self.is_committed(block.logical, block.generation),
                });
                if batch.len() == BATCH {
                    cover = best(cover, std::mem::take(&mut batch), bounds);
                }
            }
        }
        let pieces = best(cover, batch, bounds).into_iter();
        pieces.map(|(Candidate { block, is_wanted, .. }, (from, to))| Piece { block, is_wanted, from, to }).collect()
    }
}

/// The best blocks for each key, of those that cover some already and of others. What is dropped is covered by better blocks, and
/// stays so whatever comes.
fn best(cover: Vec<(Candidate, Range)>, mut blocks: Vec<Candidate>, bounds: (Key, Key)) -> Vec<(Candidate, Range)> {
    blocks.extend(cover.into_iter().map(|(candidate, _)| candidate));
    blocks.sort_by_key(|Candidate { block, is_wanted, is_committed }| {
        let rank = (*is_wanted, block.generation, block.state, *is_committed, block.logical);
        // The first copy stands for all.
        (Reverse(rank), block.mirror)
    });
    // By their first keys, without overlap.
    let mut pieces: BTreeMap<Key, (Candidate, Range)> = BTreeMap::new();
    for candidate in blocks {
        let (mut from, last) = (candidate.block.first.max(bounds.0), candidate.block.last.min(bounds.1));
        while from <= last {
            if let Some((_, (_, (_, to)))) = pieces.range(..=from).next_back()
                && *to >= from
            {
                let Some(next) = to.successor() else { break };
                from = next;
                continue;
            }
            let next = pieces.range(from..=last).next().map(|(key, _)| *key);
            let to = next.and_then(Key::predecessor).unwrap_or(last);
            pieces.insert(from, (candidate, (from, to)));
            let Some(behind) = to.successor() else { break };
            from = behind;
        }
    }
    pieces.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{KeyType, Logical};
    use crate::repair::older::State;

    fn key(objectid: u64) -> Key {
        Key::new(objectid, KeyType::INODE_ITEM, 0)
    }

    fn block(generation: u64, first: u64, last: u64) -> Candidate {
        let block = OlderBlock {
            logical: Logical(generation << 32 | first),
            mirror: 1,
            level: 0,
            owner: 5,
            generation: Transid(generation),
            first: key(first),
            last: key(last),
            state: State::Older,
        };
        Candidate { block, is_wanted: false, is_committed: false }
    }

    fn of(blocks: &[Candidate], cover: Vec<(Candidate, Range)>) -> Vec<(u64, u64, u64)> {
        let pieces = best(cover, blocks.to_vec(), (key(10), key(99)));
        let objectid_up = |key: Key| {
            if key.key_type == KeyType::INODE_ITEM && key.offset == 0 { key.objectid } else { key.objectid + 1 }
        };
        let numbers = |(candidate, (from, to)): &(Candidate, Range)| {
            (candidate.block.generation.0, objectid_up(*from), to.objectid)
        };
        pieces.iter().map(numbers).collect()
    }

    #[test]
    fn an_older_leaf_does_not_hide_what_a_newer_one_holds() {
        let blocks = [block(7, 30, 40), block(3, 5, 90), block(9, 35, 36), block(8, 33, 35)];
        let expected = [(3, 10, 30), (7, 30, 33), (8, 33, 35), (9, 35, 36), (7, 37, 40), (3, 41, 90)];
        assert_eq!(of(&blocks, Vec::new()), expected);
        // The same in whatever batches.
        for cut in 0..blocks.len() {
            let cover = best(Vec::new(), blocks[..cut].to_vec(), (key(10), key(99)));
            assert_eq!(of(&blocks[cut..], cover), expected);
        }
        assert_eq!(of(&[block(7, 1, 9), block(7, 100, 200)], Vec::new()), []);
        let wanted = Candidate { is_wanted: true, ..block(2, 20, 60) };
        assert_eq!(of(&[block(7, 30, 40), wanted], Vec::new()), [(2, 20, 60)]);
    }

    #[test]
    fn what_a_transaction_wrote_before_its_commit_does_not_hide_the_commit() {
        let (first, second) = (block(7, 20, 60), block(7, 30, 50));
        assert_eq!(of(&[first, second], Vec::new()), [(7, 20, 30), (7, 30, 50), (7, 51, 60)]);
        let committed = Candidate { is_committed: true, ..first };
        assert_eq!(of(&[second, committed], Vec::new()), [(7, 20, 60)]);
    }
}
