//! Tree blocks that were verified a short time ago.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::block::Block;
use crate::block::verify::Expected;
use crate::disk::Logical;
use crate::parallel::lock;
use crate::volume::{BadCopy, NoGoodCopy, Volume};

/// Blocks that are kept: the upper levels of some trees, and the leaves at hand.
const CAPACITY: usize = 128;

/// Keeps the verified blocks that were read last, for searches that begin at the same roots again and again. Several threads
/// may use it. It is for a volume that nothing changes.
#[derive(Default)]
pub struct BlockCache {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    blocks: HashMap<Logical, (Arc<Vec<u8>>, u64)>,
    /// Grows with each use.
    clock: u64,
}

impl BlockCache {
    /// The verified block that a pointer leads to, and the copies that were found bad when it was read: none if it was kept.
    ///
    /// # Errors
    ///
    /// No copy is what the pointer says.
    pub(super) fn read(
        &self,
        volume: &Volume,
        expected: &Expected,
    ) -> Result<(Arc<Vec<u8>>, Vec<BadCopy>), NoGoodCopy> {
        if let Some(bytes) = self.find(expected) {
            return Ok((bytes, Vec::new()));
        }
        let mut buffer = Vec::new();
        let (bytes, bad) = volume.undisturbed(|| {
            let read = volume.read_block(expected, &mut buffer)?;
            Ok((Arc::new(read.block.bytes().to_vec()), read.bad))
        })?;
        let mut kept = lock(&self.kept);
        if kept.blocks.len() >= CAPACITY
            && let Some(oldest) = kept.blocks.iter().min_by_key(|(_, (_, used))| *used).map(|(logical, _)| *logical)
        {
            kept.blocks.remove(&oldest);
        }
        kept.clock += 1;
        let clock = kept.clock;
        kept.blocks.insert(expected.logical, (Arc::clone(&bytes), clock));
        Ok((bytes, bad))
    }

    /// The block, if it is kept and is what this pointer says too.
    fn find(&self, expected: &Expected) -> Option<Arc<Vec<u8>>> {
        let mut kept = lock(&self.kept);
        kept.clock += 1;
        let clock = kept.clock;
        let (bytes, used) = kept.blocks.get_mut(&expected.logical)?;
        let block = Block::new(bytes)?;
        let is_expected = expected.level.is_none_or(|level| level == block.level())
            && expected.generation.is_none_or(|generation| generation == block.generation())
            && expected.first_key.is_none_or(|key| Some(key) == block.first_key());
        if !is_expected {
            return None;
        }
        *used = clock;
        Some(Arc::clone(bytes))
    }
}
