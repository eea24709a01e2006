//! A plan becomes new blocks and superblocks, all of them staged.

use std::sync::Arc;

use zerocopy::IntoBytes;

use crate::disk::root::RootItem;
use crate::disk::{Key, KeyType, objectid};
use crate::error::{Error, Result, TreeProblem};
use crate::survey::{Job, Survey};
use crate::trans::Filesystem;
use crate::tree::build::BuiltTree;
use crate::tree::{Tree, TreeRoot};
use crate::volume::{Volume, WritableVolume};

use super::csum_tree;
use super::draft::Draft;
use super::edits::{Edits, leaf_of};
use super::free::FreeBlocks;
use super::options::Options;
use super::plan::Plan;
use super::rewrite::Rewriter;

/// Changes the trees as planned, and publishes superblocks that lead to them. `surveys` are those that tell where nothing may be
/// written. Returns the space that is left.
///
/// # Errors
/// No space, and what cannot be written.
pub fn apply(
    plan: &Plan<'_>,
    mut volume: WritableVolume,
    surveys: &[&Survey],
    options: &Options<'_>,
) -> Result<FreeBlocks> {
    for (uuid, devid) in &plan.devids {
        volume.set_devid(*uuid, *devid);
    }
    let mut free = FreeBlocks::new(volume.volume(), surveys)?;
    free.spare(&plan.former);
    let mut draft = Draft::new(volume, free)?;
    draft.superblock = plan.superblock.clone();
    let (root, chunk_root) = rewrite(plan, &mut draft, options)?;
    let free = draft.free.clone();
    draft.publish(&root, &chunk_root)?;
    Ok(free)
}

/// The new roots of the root tree and of the chunk tree.
fn rewrite(plan: &Plan<'_>, draft: &mut Draft, options: &Options<'_>) -> Result<(TreeRoot, TreeRoot)> {
    let survey = plan.survey;
    let chunk_tree = Tree::whole(TreeRoot::chunk_tree(plan.volume));
    let root_tree = survey.trees.root_tree;
    let others =
        survey.trees.others.iter().filter(|tree| tree.id() != objectid::CHUNK_TREE).chain(&survey.trees.extent_tree);
    let mut rewriter = Rewriter::new(draft, &plan.edits);
    let chunk_root = rewriter.rewrite(&chunk_tree, false)?.unwrap_or(chunk_tree.root);
    let mut roots: Vec<(Tree, Option<TreeRoot>)> = Vec::new();
    for tree in others.filter(|tree| tree.drop_progress.is_none()) {
        roots.push((*tree, rewriter.rewrite(tree, false)?));
    }
    let is_shared = rewriter.is_shared;
    let generation = draft.generation();
    // Their items join those that the plan changes.
    let mut edits = plan.edits.clone();
    for (tree, new) in &roots {
        draft.roots.insert(tree.id(), new.unwrap_or(tree.root));
        let Some(new) = new else { continue };
        let key = tree.root.key;
        let lost = || Error::Tree { tree: tree.id(), problem: TreeProblem::RootItem };
        let data = edits.get(plan.volume, &root_tree.root, key).ok_or_else(lost)?;
        let mut item = RootItem::read(&data).ok_or_else(lost)?;
        (item.bytenr, item.level) = (new.logical.0.into(), new.level);
        (item.generation, item.generation_v2) = (generation.0.into(), generation.0.into());
        // The kernel takes blocks that are newer than the last snapshot for those of one tree alone.
        if is_shared && objectid::is_fs_tree(tree.id()) {
            item.last_snapshot = generation.0.into();
        }
        set_root_item(&mut edits, plan.volume, &root_tree.root, key, item.as_bytes());
    }
    for tree in &plan.new_trees {
        let mut bytes = draft.new_block(*tree, 0)?;
        let mut item = RootItem::new(plan.volume.format().nodesize);
        item.bytenr = draft.place(*tree, &mut bytes)?.0.into();
        (item.generation, item.generation_v2) = (generation.0.into(), generation.0.into());
        item.bytes_used = u64::from(plan.volume.format().nodesize).into();
        set_root_item(
            &mut edits,
            plan.volume,
            &root_tree.root,
            Key::new(*tree, KeyType::ROOT_ITEM, 0),
            item.as_bytes(),
        );
    }
    if let Some(built) = new_csum_tree(plan, draft, options)? {
        let key = Key::new(objectid::CSUM_TREE, KeyType::ROOT_ITEM, 0);
        let old = edits.get(plan.volume, &root_tree.root, key);
        let nodesize = plan.volume.format().nodesize;
        let mut item = old.as_deref().and_then(RootItem::read).unwrap_or_else(|| RootItem::new(nodesize));
        (item.bytenr, item.level) = (built.root.0.into(), built.level);
        (item.generation, item.generation_v2) = (generation.0.into(), generation.0.into());
        item.bytes_used = built.blocks.saturating_mul(nodesize.into()).into();
        set_root_item(&mut edits, plan.volume, &root_tree.root, key, item.as_bytes());
        let root = TreeRoot { key, logical: built.root, level: built.level, generation: Some(generation) };
        draft.roots.insert(objectid::CSUM_TREE, root);
    }
    let root = Rewriter::new(draft, &edits).rewrite(&root_tree, true)?.unwrap_or(root_tree.root);
    Ok((root, chunk_root))
}

/// The checksum tree, if it is made anew.
fn new_csum_tree(plan: &Plan<'_>, draft: &mut Draft, options: &Options<'_>) -> Result<Option<BuiltTree>> {
    let Some(new) = &plan.csums else { return Ok(None) };
    let job = Job { volume: plan.volume, threads: options.threads, progress: options.progress };
    let of_files = plan.survey.trees.others.iter().filter(|tree| objectid::is_fs_tree(tree.id()));
    let trees: Vec<Tree> = of_files.copied().collect();
    let runs = plan.survey.csums.runs().iter().map(|run| (run.start, run.end));
    csum_tree::build(new, draft, &job, (trees.as_slice(), runs), options.memory).map(Some)
}

/// A leaf with items of its own in its place has the root item, too.
fn set_root_item(edits: &mut Edits, volume: &Volume, root: &TreeRoot, key: Key, data: &[u8]) {
    use super::edits::Instead;
    if edits.set(volume, root, key, Some(data.to_vec())) {
        return;
    }
    let instead = leaf_of(volume, root, key).and_then(|leaf| edits.instead.get_mut(&leaf));
    if let Some(Instead::Items(items)) = instead {
        items.insert(key, data.to_vec());
    }
}

/// Has block groups and free space noted anew by what the survey found in use.
///
/// # Errors
/// As those of [`Filesystem::open_surveyed`] and [`Filesystem::commit`].
pub fn note_free_space(volume: WritableVolume, survey: Arc<Survey>) -> Result<()> {
    Filesystem::open_surveyed(volume, survey)?.commit()
}
