//! What quota groups count of a new filesystem.

use std::collections::BTreeMap;

use crate::block::reference::Reference;
use crate::error::{Error, Result};
use crate::rebuild::{DataExtents, DataRef};
use crate::table::Table;

/// What a tree of files refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of data extents.
    pub referenced: u64,
    /// Of those, what no other tree refers to.
    pub exclusive: u64,
    /// Bytes of extents whose owner is this tree.
    pub owned: u64,
}

/// The use of data by each tree.
pub fn usage(data: &Table<DataRef>) -> Result<BTreeMap<u64, Usage>> {
    let mut usage: BTreeMap<u64, Usage> = BTreeMap::new();
    let mut extents = DataExtents::new(data.iter());
    while let Some(extent) = extents.next_extent()? {
        let root_of = |(reference, _): &(Reference, u64)| match reference {
            Reference::ExtentData { root, .. } => Some(*root),
            _ => None,
        };
        let mut roots: Vec<u64> = extent.refs.iter().filter_map(root_of).collect();
        roots.dedup();
        for root in &roots {
            let usage = usage.entry(*root).or_default();
            usage.referenced += extent.length;
            usage.exclusive += if roots.len() == 1 { extent.length } else { 0 };
        }
        if let Some(owner) = extent.owner {
            usage.entry(owner).or_default().owned += extent.length;
        }
    }
    data.failure().map_or(Ok(usage), |failure| Err(Error::Temporary(failure)))
}
