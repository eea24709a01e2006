//! What is trusted to say which space the last commit has in use.

use std::fmt;
use std::sync::Arc;

use crate::block::extent_item::ExtentKind;
use crate::disk::extent::{ExtentItem, TreeBlockInfo};
use crate::disk::flags::extent::TREE_BLOCK;
use crate::disk::{Key, KeyType, Logical};
use crate::error::{Error, Result};
use crate::space::{FreeExtents, without_extents};
use crate::survey::{Survey, UsedExtent};
use crate::tree::TreeRoot;
use crate::volume::{ChunkMapping, Volume};

/// What vouches for a filesystem that is opened for writing.
pub enum Trust {
    /// The filesystem is sound by what it says itself: its extent tree of the last commit, which has to agree with its block
    /// groups.
    ExtentTree(TreeRoot),
    /// A survey, which tells what the trees that it reached have in use. What damaged trees claim does not count.
    Survey(Arc<Survey>),
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExtentTree(root) => f.debug_tuple("ExtentTree").field(root).finish(),
            Self::Survey(_) => f.write_str("Survey"),
        }
    }
}

impl Trust {
    /// What of `free`, which are ranges of a chunk of the last commit, was not in use, and how many bytes of the chunk were.
    ///
    /// # Errors
    /// An extent tree that cannot be read, or whose extents overlap or leave the chunk; a survey whose records cannot be read.
    pub fn without_used(
        &self,
        volume: &Volume,
        chunk: &ChunkMapping,
        mut free: FreeExtents,
    ) -> Result<(FreeExtents, u64)> {
        let survey = match self {
            Self::ExtentTree(root) => return without_extents(volume, root, chunk, free),
            Self::Survey(survey) => survey,
        };
        let (mut used, mut position) = (0, chunk.logical);
        for extent in used_of(survey, volume, chunk)? {
            // Of extents that overlap each byte counts once.
            let start = extent.logical.max(position);
            let end = extent.end().min(chunk.end());
            if start < end {
                free.remove(start, end.0 - start.0);
                used += end.0 - start.0;
                position = end;
            }
        }
        Ok((free, used))
    }

    /// The extents of the last commit that begin in a chunk.
    ///
    /// # Errors
    /// As [`Trust::without_used`].
    pub fn extents_of(&self, volume: &Volume, chunk: &ChunkMapping) -> Result<Vec<UsedExtent>> {
        let root = match self {
            Self::ExtentTree(root) => root,
            Self::Survey(survey) => return used_of(survey, volume, chunk),
        };
        let from = Key::new(chunk.logical.0, KeyType(0), 0);
        let to = Key::new(chunk.end().0 - 1, KeyType(u8::MAX), u64::MAX);
        let nodesize = volume.format().nodesize;
        let mut extents = Vec::new();
        root.range(volume, from, to, |item| {
            if !matches!(item.key.key_type, KeyType::EXTENT_ITEM | KeyType::METADATA_ITEM) {
                return;
            }
            let Some((extent, rest)) = ExtentItem::read_prefix(item.data) else { return };
            let level = match item.key.key_type {
                KeyType::METADATA_ITEM => u8::try_from(item.key.offset).ok(),
                _ if extent.flags.get() & TREE_BLOCK != 0 => {
                    TreeBlockInfo::read_prefix(rest).map(|(info, _)| info.level)
                }
                _ => None,
            };
            let kind = level.map_or(ExtentKind::Data { length: item.key.offset }, |level| ExtentKind::Block { level });
            extents.push(UsedExtent {
                logical: Logical(item.key.objectid),
                length: kind.length(nodesize),
                kind,
                generation: Some(extent.generation.into()),
            });
        })?;
        extents.retain(|extent| extent.length > 0);
        Ok(extents)
    }
}

/// The extents that lie in a chunk, those among them that begin before it.
fn used_of(survey: &Survey, volume: &Volume, chunk: &ChunkMapping) -> Result<Vec<UsedExtent>> {
    let used = survey.used_over(chunk.logical, chunk.end(), volume.format().nodesize);
    survey.failure().map_or(Ok(used), |error| Err(Error::Temporary(error)))
}
