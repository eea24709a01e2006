//! What the trees that were reached have in use: the space that nothing may be allocated from, whatever the extent tree says.

use crate::block::extent_item::ExtentKind;
use crate::disk::{Logical, Transid};

use super::blocks::UsedData;
use super::gather::Survey;

/// An extent that something refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedExtent {
    /// Logical address of the range.
    pub logical: Logical,
    /// Bytes.
    pub length: u64,
    /// The level of a block that could not be read is that of the pointer to it.
    pub kind: ExtentKind,
    /// Of a tree block that was read.
    pub generation: Option<Transid>,
}

impl UsedExtent {
    /// The first address behind the range.
    pub fn end(&self) -> Logical {
        Logical(self.logical.0.saturating_add(self.length))
    }
}

impl Survey {
    /// The extents of which a part lies in `start..end` and that trees which were reached refer to, by address, those of logs
    /// among them: tree blocks, those that could not be read too, and data. Without `keep_blocks` there are none. They overlap
    /// where trees are damaged.
    pub fn used_over(&self, start: Logical, end: Logical, nodesize: u32) -> Vec<UsedExtent> {
        let nodesize = u64::from(nodesize);
        let block = |logical, level, generation| {
            let kind = ExtentKind::Block { level };
            UsedExtent { logical, length: nodesize, kind, generation }
        };
        let (blocks, data) = (&self.blocks.records, &self.blocks.data);
        let records = blocks.iter_from(start.0.saturating_sub(nodesize)).take_while(|record| record.logical < end);
        let mut used: Vec<UsedExtent> =
            records.map(|record| block(record.logical, record.level as u8, Some(Transid(record.generation)))).collect();
        used.extend(self.blocks.unread.iter().map(|unread| block(unread.block, unread.level, None)));
        let from = start.0.saturating_sub(self.blocks.longest_data);
        let data = data.iter_from(from).take_while(|data| data.logical < end);
        used.extend(data.map(|UsedData { logical, length }| {
            let kind = ExtentKind::Data { length };
            UsedExtent { logical, length, kind, generation: None }
        }));
        used.retain(|extent| extent.length > 0 && extent.logical < end && start < extent.end());
        used.sort_by_key(|extent| (extent.logical, extent.length));
        used.dedup();
        used
    }
}
