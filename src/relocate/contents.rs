//! What lies in a block group, by the extent tree.

use crate::disk::extent::ExtentItem;
use crate::disk::flags::extent::TREE_BLOCK;
use crate::disk::{Key, KeyType, Logical, objectid};
use crate::error::{Error, ExtentProblem, Result};
use crate::tree::TreeRoot;
use crate::volume::Volume;

/// An extent of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataExtent {
    /// Logical address of the extent.
    pub start: Logical,
    /// Its bytes.
    pub length: u64,
    /// How many file extents refer to it.
    pub refs: u64,
}

/// The first extents of a range of addresses.
#[derive(Debug)]
pub struct Contents {
    /// By address.
    pub data: Vec<DataExtent>,
    /// Number of tree blocks.
    pub blocks: u64,
    /// The first address of which nothing is told: the end of the range, unless it holds more than was asked for.
    pub end: Logical,
}

/// How much of a range is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Extents of data.
    pub extents: u64,
    /// Bytes of data. One extent may have more.
    pub bytes: u64,
    /// Tree blocks.
    pub blocks: u64,
}

impl Limits {
    /// What is left of it without something.
    pub fn without(&self, contents: &Contents) -> Self {
        let bytes = contents.data.iter().map(|extent| extent.length).fold(0, u64::saturating_add);
        Self {
            extents: self.extents.saturating_sub(contents.data.len() as u64),
            bytes: self.bytes.saturating_sub(bytes),
            blocks: self.blocks.saturating_sub(contents.blocks),
        }
    }

    /// Whether nothing is left of it.
    pub fn is_spent(&self) -> bool {
        self.extents == 0 || self.bytes == 0 || self.blocks == 0
    }
}

impl Contents {
    /// Reads what lies between two addresses, no more than the limits allow.
    ///
    /// # Errors
    /// The extent tree cannot be read.
    pub fn read(volume: &Volume, extent_tree: &TreeRoot, start: Logical, end: Logical, limits: Limits) -> Result<Self> {
        let mut contents = Self { data: Vec::new(), blocks: 0, end };
        let mut left = limits;
        let mut bad = None;
        let last = Logical(end.0.saturating_sub(1));
        let (from, to) = (Key::new(start.0, KeyType(0), 0), Key::new(last.0, KeyType(u8::MAX), u64::MAX));
        extent_tree.range(volume, from, to, |item| {
            let logical = Logical(item.key.objectid);
            if !matches!(item.key.key_type, KeyType::EXTENT_ITEM | KeyType::METADATA_ITEM) || contents.end < end {
                return;
            }
            if left.is_spent() {
                contents.end = logical;
                return;
            }
            let Some((extent, _)) = ExtentItem::read_prefix(item.data) else {
                bad = bad.or(Some(logical));
                return;
            };
            if item.key.key_type == KeyType::METADATA_ITEM || extent.flags.get() & TREE_BLOCK != 0 {
                contents.blocks += 1;
                left.blocks -= 1;
                return;
            }
            let (length, refs) = (item.key.offset, extent.refs.get());
            if logical.checked_add(length).is_none_or(|end_of_extent| end_of_extent > end) {
                bad = bad.or(Some(logical));
            }
            contents.data.push(DataExtent { start: logical, length, refs });
            left.extents -= 1;
            left.bytes = left.bytes.saturating_sub(length);
        })?;
        match bad {
            Some(logical) => Err(Error::Extent { logical, problem: ExtentProblem::BadItem }),
            None => Ok(contents),
        }
    }
}

/// The extents of data between two addresses.
///
/// # Errors
/// The extent tree cannot be read.
pub fn data_between(volume: &Volume, start: Logical, end: Logical) -> Result<Vec<DataExtent>> {
    let extent_tree = TreeRoot::root_tree(volume).find_child(volume, objectid::EXTENT_TREE)?;
    let no_tree = Error::NoTree { tree: objectid::EXTENT_TREE, name: "EXTENT_TREE" };
    let limits = Limits { extents: u64::MAX, bytes: u64::MAX, blocks: u64::MAX };
    Ok(Contents::read(volume, &extent_tree.ok_or(no_tree)?, start, end, limits)?.data)
}
