//! References to tree blocks that are yet to be noted in the extent tree: noting them there makes new ones, so that they
//! wait until the end of the transaction.

use std::collections::BTreeMap;

use zerocopy::IntoBytes;

use crate::disk::extent::{ExtentInlineRef, ExtentItem, InlineRef, InlineRefs, TreeBlockInfo};
use crate::disk::flags::extent::TREE_BLOCK;
use crate::disk::flags::incompat::SKINNY_METADATA;
use crate::disk::{Key, KeyType, Logical};
use crate::error::{Error, Result};

use super::Filesystem;
use super::staged::StagedTree;

/// What is to become of the extent item of a tree block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new block, to which nothing but this tree refers.
    Add { tree: u64, level: u8, first_key: Key },
    /// A block of the last commit, to which nothing but this tree referred.
    Drop { tree: u64, level: u8 },
}

/// Changes by address, at most one for each.
pub type Changes = BTreeMap<Logical, Change>;

/// Notes all that waits, and what noting it brings. The extent tree must be the caller's alone.
pub fn run(fs: &Filesystem, extent_tree: &mut StagedTree) -> Result<()> {
    while let Some((logical, change)) = fs.next_reference() {
        match change {
            Change::Add { tree, level, first_key } => add(fs, extent_tree, logical, tree, level, first_key)?,
            Change::Drop { tree, level } => drop_item(fs, extent_tree, logical, tree, level)?,
        }
    }
    Ok(())
}

fn skinny_key(logical: Logical, level: u8) -> Key {
    Key::new(logical.0, KeyType::METADATA_ITEM, level.into())
}

fn full_key(fs: &Filesystem, logical: Logical) -> Key {
    Key::new(logical.0, KeyType::EXTENT_ITEM, fs.volume().format().nodesize.into())
}

fn add(
    fs: &Filesystem,
    extent_tree: &mut StagedTree,
    logical: Logical,
    tree: u64,
    level: u8,
    first_key: Key,
) -> Result<()> {
    let mut extent = ExtentItem::zeroed();
    extent.refs = 1.into();
    extent.generation = fs.generation().0.into();
    extent.flags = TREE_BLOCK.into();
    let mut data = extent.as_bytes().to_vec();
    let is_skinny = fs.volume().superblock().has_incompat(SKINNY_METADATA);
    if !is_skinny {
        let mut info = TreeBlockInfo::zeroed();
        (info.key, info.level) = (first_key.into(), level);
        data.extend_from_slice(info.as_bytes());
    }
    let mut reference = ExtentInlineRef::zeroed();
    (reference.r#type, reference.offset) = (KeyType::TREE_BLOCK_REF.0, tree.into());
    data.extend_from_slice(reference.as_bytes());
    let key = if is_skinny { skinny_key(logical, level) } else { full_key(fs, logical) };
    extent_tree.edit(fs, |editor| editor.insert(key, &data))
}

/// Deletes the item of a block whose only reference goes away. One that says anything else is damage, which must not
/// be built upon.
fn drop_item(fs: &Filesystem, extent_tree: &mut StagedTree, logical: Logical, tree: u64, level: u8) -> Result<()> {
    let error = |problem: &str| Error::Block { what: "extent item", logical, problem: problem.to_owned() };
    let mut found = None;
    for key in [skinny_key(logical, level), full_key(fs, logical)] {
        if let Some(data) = extent_tree.find(fs, key)? {
            found = Some((key, data));
            break;
        }
    }
    let (key, data) = found.ok_or_else(|| error("is missing"))?;
    let (extent, mut rest) = ExtentItem::read_prefix(&data).ok_or_else(|| error("is too short"))?;
    if key.key_type == KeyType::EXTENT_ITEM {
        (_, rest) = TreeBlockInfo::read_prefix(rest).ok_or_else(|| error("is too short"))?;
    }
    let mut references = InlineRefs::new(rest);
    let first = references.next();
    let is_ours = matches!(first, Some(Ok(InlineRef::TreeBlock { root })) if root == tree);
    if extent.refs.get() != 1 || extent.flags.get() & TREE_BLOCK == 0 || !is_ours || references.next().is_some() {
        return Err(error("does not say that only its tree refers to it"));
    }
    extent_tree.edit(fs, |editor| editor.delete(key))
}
