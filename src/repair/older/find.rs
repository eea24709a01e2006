//! Which block may stand in a lost place.

use std::cmp::Reverse;

use crate::disk::Transid;
use crate::survey::Unread;

use super::block::OlderBlock;
use super::blocks::OlderBlocks;
use super::lineage::Lineage;

/// Candidates that are handed out: no more are worth being tried.
const MOST: usize = 256;

impl OlderBlocks {
    /// Blocks that may stand in the lost place: of its level, of the lineage, with keys within its
    /// bounds, and not newer than `newest`, which the pointer to it says. The newest come first, and of one generation those with
    /// the same first key. Keys of a block may lie outside of the bounds, too: such items are not the place's. Where blocks were
    /// split since, several of them stood in its place: [`OlderBlocks::cover`] puts them together.
    pub fn find(&self, lost: &Unread, lineage: &Lineage, newest: Transid) -> Vec<OlderBlock> {
        let mut found: Vec<OlderBlock> = Vec::new();
        let sort = |found: &mut Vec<OlderBlock>| {
            found.sort_by_key(|block| {
                let differs = lost.first.is_some_and(|first| first != block.first);
                let rank = (Reverse(block.generation), differs, Reverse(block.state), Reverse(block.count));
                (rank, block.logical, block.mirror)
            });
            found.dedup_by_key(|block| (block.logical, block.generation));
            found.truncate(MOST);
        };
        // A block whose first key lies before the place may reach into it, however far before.
        let blocks = self
            .of_level(lost.level)
            .take_while(|block| lost.end.is_none_or(|end| block.first.objectid <= end.objectid));
        for block in blocks {
            if block.generation <= newest && block.reaches(lost.first, lost.end) && lineage.has(&block) {
                found.push(block);
                if found.len() == 16 * MOST {
                    sort(&mut found);
                }
            }
        }
        sort(&mut found);
        found
    }
}
