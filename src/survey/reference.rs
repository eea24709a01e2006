//! References to extents, as extent items claim them.

use crate::block::reference::Reference;
use crate::block::{ItemRef, Leaf};
use crate::disk::extent::{ExtentItem, InlineRef, InlineRefs, TreeBlockInfo};
use crate::disk::flags::extent::TREE_BLOCK;
use crate::disk::{KeyType, Logical, Transid};

use super::extent_list::Extent;

/// What an item of the extent tree says.
pub enum Claim {
    Extent(Extent),
    Reference {
        extent: Logical,
        reference: Reference,
        count: u64,
    },
    /// The owner reference of simple quotas (`EXTENT_OWNER_REF`). It is no back reference.
    Owner {
        root: u64,
        generation: Transid,
        length: u64,
    },
}

/// Hands each claim of a leaf of the extent tree to `visit`. What makes no sense is left out: the item verifier reports
/// it.
pub fn claims(leaf: Leaf<'_>, nodesize: u32, mut visit: impl FnMut(Claim)) {
    for item in leaf.items().flatten() {
        let logical = Logical(item.key.objectid);
        match item.key.key_type {
            KeyType::EXTENT_ITEM | KeyType::METADATA_ITEM => extent_claims(&item, nodesize, &mut visit),
            _ => {
                if let Some((reference, count)) = Reference::of_item(&item) {
                    visit(claim(logical, reference, count));
                }
            }
        }
    }
}

fn claim(extent: Logical, reference: Reference, count: u64) -> Claim {
    Claim::Reference { extent, reference, count }
}

fn extent_claims(item: &ItemRef<'_>, nodesize: u32, visit: &mut impl FnMut(Claim)) {
    let Some((extent, mut refs)) = ExtentItem::read_prefix(item.data) else { return };
    let logical = Logical(item.key.objectid);
    let flags = extent.flags.get();
    let is_skinny = item.key.key_type == KeyType::METADATA_ITEM;
    // The verifier reports a level that does not fit a byte.
    let mut level_or_owner = if is_skinny { item.key.offset } else { Extent::UNTOLD };
    if !is_skinny && flags & TREE_BLOCK != 0 {
        let Some((info, rest)) = TreeBlockInfo::read_prefix(refs) else { return };
        level_or_owner = info.level.into();
        refs = rest;
    } else if let Some(Ok(InlineRef::Owner { root })) = InlineRefs::new(refs).next() {
        level_or_owner = root;
    }
    let length = if is_skinny { nodesize.into() } else { item.key.offset };
    let (refs_total, generation) = (extent.refs.get(), extent.generation.get());
    visit(Claim::Extent(Extent { logical, length, refs: refs_total, generation, flags, level_or_owner }));
    for inline_ref in InlineRefs::new(refs).map_while(Result::ok) {
        match (inline_ref, Reference::of_inline(inline_ref)) {
            (_, Some((reference, count))) => visit(claim(logical, reference, count)),
            (InlineRef::Owner { root }, _) => {
                visit(Claim::Owner { root, generation: extent.generation.into(), length })
            }
            _ => {}
        }
    }
}
