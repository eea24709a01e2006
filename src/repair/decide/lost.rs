//! Blocks that are lost: a flipped bit is put back, a block that the disk has written elsewhere is taken from there, what hung
//! below them is attached again, earlier versions take their place, and what is still lost is given up.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::block::item::Rules;
use crate::block::verify::BlockError;
use crate::block::{Block, BlockKind};
use crate::disk::inode::InodeItem;
use crate::disk::{Key, KeyType, Logical, Transid, objectid};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::survey::{Buckets, Job, Unread};
use crate::table::MemoryBudget;
use crate::tree::promise;
use crate::volume::Volume;

use super::super::edits::{Instead, Items, Part};
use super::super::fix::Fix;
use super::super::flip::{Place, PointerField, PointerPlace, Witness, unflip_copies, unflip_pointer};
use super::super::older::{Judge, Lineage, OlderBlocks, Piece, State};
use super::super::plan::{Doubt, Plan, Space};
use super::parents::{Parent, parents};
use super::root_tree;

/// Bytes for the records of a scan for older blocks.
const MEMORY: u64 = 64 << 20;

/// What becomes of a lost block that nothing can take the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// What only it held is given up.
    GivenUp,
    /// It stays, and is met by each reader.
    Stays,
}

/// Decides what takes the place of all blocks that could not be read.
///
/// # Errors
/// Work that was stopped, temporary files that cannot be used.
pub fn decide(plan: &mut Plan<'_>, otherwise: Otherwise, threads: usize, progress: &Progress) -> Result<()> {
    let survey = plan.survey;
    // Without chunks nothing else is known, and without the root tree no other tree.
    for tree in [objectid::CHUNK_TREE, objectid::ROOT_TREE] {
        if survey.blocks.lack_of(tree) {
            decide_some(plan, |unread| unread.tree == tree, otherwise, threads, progress)?;
            if otherwise == Otherwise::GivenUp || plan.changes_trees() {
                return Ok(());
            }
        }
    }
    decide_some(plan, |_| true, otherwise, threads, progress)
}

fn decide_some(
    plan: &mut Plan<'_>,
    is_wanted: impl Fn(&Unread) -> bool,
    otherwise: Otherwise,
    threads: usize,
    progress: &Progress,
) -> Result<()> {
    let survey = plan.survey;
    let wanted: Vec<&Unread> = survey.blocks.unread.iter().filter(|unread| is_wanted(unread)).collect();
    let blocks: HashSet<Logical> = wanted.iter().map(|unread| unread.block).collect();
    let parents = parents(plan, &blocks);
    let mut loss = Loss {
        otherwise,
        threads,
        progress,
        parents,
        older: None,
        lineages: HashMap::new(),
        lacking: HashMap::new(),
        seen: BTreeSet::new(),
    };
    let volume = plan.volume;
    for unread in wanted.into_iter().filter(|unread| !may_come_back(volume, unread)) {
        loss.decide(plan, unread)?;
    }
    plan.former = loss.older.map(|older| older.places()).unwrap_or_default();
    Ok(())
}

/// Whether the block may be on a device that is missing, or behind the end of an image that is cut short: nothing takes its
/// place then.
fn may_come_back(volume: &Volume, unread: &Unread) -> bool {
    let is_cut = || volume.devices().iter().any(|device| device.is_truncated());
    unread.bad.iter().any(|bad| bad.is_missing() || matches!(bad.error, BlockError::Unreadable(_)) && is_cut())
}

struct Loss<'l> {
    otherwise: Otherwise,
    threads: usize,
    progress: &'l Progress,
    parents: HashMap<Logical, Vec<Parent>>,
    /// What lies about, once it was looked for.
    older: Option<OlderBlocks>,
    lineages: HashMap<u64, Lineage>,
    /// Trees of whose lost nodes something is lost, too, that they led to.
    lacking: HashMap<u64, bool>,
    seen: BTreeSet<(Logical, u64)>,
}

impl Loss<'_> {
    fn decide(&mut self, plan: &mut Plan<'_>, unread: &Unread) -> Result<()> {
        match unread.tree {
            // What others know is built anew.
            objectid::EXTENT_TREE | objectid::FREE_SPACE_TREE | objectid::BLOCK_GROUP_TREE => {
                plan.need(Space::All);
                return Ok(());
            }
            objectid::DEV_TREE => {
                plan.devices = true;
                return Ok(());
            }
            objectid::TREE_LOG => return Ok(()),
            _ => {}
        }
        let is_own =
            |parent: &&Parent| parent.expected.level == Some(unread.level) && parent.expected.first_key == unread.first;
        let parent = self.parents.get(&unread.block).and_then(|all| all.iter().find(is_own)).copied();
        if let Some(parent) = parent
            && !self.seen.insert((unread.block, promise(&parent.expected)))
        {
            return Ok(());
        }
        if let Some(parent) = parent
            && (self.put_bit_back(plan, unread, &parent)
                || self.bring_home(plan, unread, &parent)?
                || self.correct_pointer(plan, unread, &parent))
        {
            return Ok(());
        }
        // Sums are made of the data, not of sums that the data may have had once.
        if unread.tree != objectid::CSUM_TREE && self.bring_back(plan, unread, parent.as_ref())? {
            return Ok(());
        }
        // With the root of the root tree all files would be given up, although their trees may be there.
        let is_all = unread.tree == objectid::ROOT_TREE && unread.first.is_none() && unread.end.is_none();
        if is_all {
            self.make_root_tree(plan, unread);
        }
        if is_all || self.otherwise == Otherwise::Stays {
            return Ok(());
        }
        plan.edits.lost.insert(unread.block, Instead::Items(Items::new()));
        plan.doubts.push(Doubt { tree: unread.tree, first: unread.first, end: unread.end });
        let error = unread.bad.first().map(|bad| &bad.error);
        plan.fix(Fix::block_gone(unread.tree, unread.block, unread.level, error));
        Ok(())
    }

    fn put_bit_back(&self, plan: &mut Plan<'_>, unread: &Unread, parent: &Parent) -> bool {
        let rules = Rules::new(plan.volume.format(), plan.volume.superblock());
        let place = place_of(plan, unread.tree, parent, unread.end, &rules);
        let Some((_, flip)) = unflip_copies(plan.volume, &place, self.threads) else { return false };
        let Some(instead) = Block::new(&flip.bytes).map(whole) else { return false };
        plan.edits.lost.insert(unread.block, instead);
        let (tree, block) = (unread.tree, unread.block);
        let field = flip.field.to_string();
        plan.fix(Fix::Flip { tree, block, offset: flip.offset as u64, bit: flip.bit, field });
        true
    }

    fn correct_pointer(&self, plan: &mut Plan<'_>, unread: &Unread, parent: &Parent) -> bool {
        let (Some(ptr), Some((parent_level, parent_generation))) = (parent.ptr, parent.node) else { return false };
        let rules = Rules::new(plan.volume.format(), plan.volume.superblock());
        let tree = unread.tree;
        let is_owner = |owner: u64| owner == tree || objectid::may_share_blocks(tree) && objectid::is_fs_tree(owner);
        let records = &plan.survey.blocks.records;
        let is_referenced =
            |logical: Logical| records.iter_from(logical.0).next().is_some_and(|record| record.logical == logical);
        let place = PointerPlace {
            ptr,
            parent_level,
            parent_generation,
            after: parent.after,
            end: parent.end.or(unread.end),
            tree,
            is_owner: &is_owner,
            is_referenced: &is_referenced,
            rules: &rules,
            witness: Witness::of_extent_item(plan.survey, unread.block),
        };
        let Some(flip) = unflip_pointer(plan.volume, &place) else { return false };
        let child = crate::block::verify::Expected::child(&flip.ptr, parent_level);
        let known = Witness::of_extent_item(plan.survey, child.logical).generation;
        if flip.field == PointerField::Blockptr && known != child.generation {
            plan.doubts.push(Doubt { tree, first: unread.first, end: unread.end });
        }
        plan.edits.lost.insert(unread.block, Instead::Same(child));
        plan.fix(Fix::Pointer { tree, block: unread.block, field: format!("{:?}", flip.field) });
        true
    }

    /// The block itself, where the disk has written it to another place.
    fn bring_home(&mut self, plan: &mut Plan<'_>, unread: &Unread, parent: &Parent) -> Result<bool> {
        self.scan(plan)?;
        let Some(older) = &self.older else { return Ok(false) };
        let rules = Rules::new(plan.volume.format(), plan.volume.superblock());
        let home = place_of(plan, unread.tree, parent, unread.end, &rules);
        let (tree, block) = (unread.tree, unread.block);
        let Some((place, bytes)) = older.stray(plan.volume, block, |bytes| home.is_held_by(bytes)) else {
            return Ok(false);
        };
        let Some(instead) = Block::new(&bytes).map(whole) else { return Ok(false) };
        plan.edits.lost.insert(block, instead);
        plan.fix(Fix::Stray { tree, block, place });
        Ok(true)
    }

    /// What hung below the block, and earlier versions of it.
    fn bring_back(&mut self, plan: &mut Plan<'_>, unread: &Unread, parent: Option<&Parent>) -> Result<bool> {
        let newest =
            parent.and_then(|parent| parent.expected.generation).unwrap_or(plan.volume.superblock().generation());
        self.scan(plan)?;
        let volume = plan.volume;
        let lineage = self.lineages.entry(unread.tree).or_insert_with(|| Lineage::of(volume, unread.tree));
        let Some(older) = &self.older else { return Ok(false) };
        let pieces = older.cover(0, (unread.first, unread.end), lineage, newest);
        let is_root = unread.first.is_none() && unread.end.is_none();
        let pieces = older.of_one_state(volume, pieces, is_root);
        if let Some(failure) = older.failure() {
            return Err(Error::Temporary(failure));
        }
        let rules = Rules::new(volume.format(), volume.superblock());
        let root = plan.root(unread.tree);
        let is_nodatasum = |inode: u64| {
            let data = root?.find(volume, Key::new(inode, KeyType::INODE_ITEM, 0)).ok()??;
            InodeItem::read_prefix(&data).map(|(item, _)| !item.has_csums())
        };
        let judge = Judge { volume, survey: plan.survey, rules: &rules, is_nodatasum: &is_nodatasum };
        let (mut parts, mut fixes) = (Vec::new(), Vec::new());
        let mut generation = Transid(0);
        let mut is_attached = true;
        // What a lost node led to is known by the references that the extent tree alone has. If all of it is there, what else lies
        // there was deleted.
        let is_known = unread.level > 0
            && !plan.survey.blocks.lack_of(objectid::EXTENT_TREE)
            && plan.survey.trees.extent_tree.is_some()
            && !*self.lacking.entry(unread.tree).or_insert_with(|| older.lacks_wanted(lineage));
        for piece in pieces.iter().filter(|piece| !is_known || piece.is_wanted) {
            let Some(part) = part_of(&judge, unread.tree, piece, &mut fixes) else { continue };
            generation = generation.max(piece.block.generation);
            is_attached &= piece.is_wanted || piece.block.state != State::Older;
            parts.push(part);
        }
        if parts.is_empty() {
            return Ok(false);
        }
        let (tree, block, count) = (unread.tree, unread.block, parts.len() as u64);
        if !is_known {
            plan.doubts.push(Doubt { tree, first: unread.first, end: unread.end });
        }
        plan.edits.lost.insert(block, Instead::Leaves(parts));
        plan.fix(match is_attached && unread.level > 0 {
            true => Fix::Attached { tree, block, count },
            false => {
                let problem = unread.bad.first().map_or("no chunk holds it".to_owned(), |bad| bad.error.to_string());
                Fix::Older { tree, block, problem, generation }
            }
        });
        plan.fixes.append(&mut fixes);
        Ok(true)
    }

    /// Has a root tree made of the roots that are found, if they are.
    fn make_root_tree(&self, plan: &mut Plan<'_>, unread: &Unread) {
        let Some(older) = &self.older else { return };
        let job = Job { volume: plan.volume, threads: self.threads, progress: self.progress };
        let Some(items) = root_tree::items(plan, older, &job) else { return };
        let count = items.keys().filter(|key| key.key_type == KeyType::ROOT_ITEM).count() as u64;
        plan.edits.lost.insert(unread.block, Instead::Items(items));
        plan.fix(Fix::RootTreeMade { count });
    }

    fn scan(&mut self, plan: &Plan<'_>) -> Result<()> {
        if self.older.is_some() {
            return Ok(());
        }
        let job = Job { volume: plan.volume, threads: self.threads, progress: self.progress };
        let buckets = plan.survey.claims.unequal_references(&plan.survey.found).unwrap_or_else(Buckets::all);
        let references = plan.survey.references(&job, &buckets).map_err(Error::Temporary)?;
        self.older = Some(OlderBlocks::scan(&job, Some(plan.survey), Some(&references), &MemoryBudget::new(MEMORY))?);
        Ok(())
    }
}

/// The place of a block, by the pointer to it.
pub fn place_of<'p>(plan: &Plan<'p>, tree: u64, parent: &Parent, end: Option<Key>, rules: &'p Rules) -> Place<'p> {
    Place {
        expected: parent.expected,
        end: parent.end.or(end),
        tree,
        owner: (!objectid::may_share_blocks(tree)).then_some(tree),
        chunk_tree_uuid: None,
        format: plan.volume.format(),
        rules,
        witness: Witness {
            newest: parent.node.map(|(_, generation)| generation),
            ..Witness::of_extent_item(plan.survey, parent.expected.logical)
        },
    }
}

/// All that a block holds.
pub fn whole(block: Block<'_>) -> Instead {
    match block.kind() {
        BlockKind::Leaf(leaf) => {
            Instead::Items(leaf.items().flatten().map(|item| (item.key, item.data.to_vec())).collect())
        }
        BlockKind::Node(node) => {
            let level = block.level();
            let children = node.ptrs().iter().map(|ptr| crate::block::verify::Expected::child(ptr, level));
            Instead::Children(children.collect())
        }
    }
}

/// What of a leaf that was found is brought back. A leaf that is claimed stays where it is; others may be written over.
fn part_of(judge: &Judge<'_>, tree: u64, piece: &Piece, fixes: &mut Vec<Fix>) -> Option<Part> {
    let mut buffer = Vec::new();
    let block = OlderBlocks::read(judge.volume, &piece.block, &mut buffer)?;
    let BlockKind::Leaf(leaf) = block.kind() else { return None };
    let usable = judge.items(leaf, tree, (Some(piece.from), piece.to.successor()));
    for (key, why) in &usable.dropped {
        fixes.push(Fix::ItemGone { tree, key: *key, why: format!("{why:?}") });
    }
    let is_whole = usable.dropped.is_empty() && usable.items.len() == leaf.headers().len();
    if is_whole && piece.block.state != State::Older {
        return Some(Part::Block(piece.block.expected()));
    }
    let items: Items = usable.items.into_iter().collect();
    (!items.is_empty()).then_some(Part::Items(items))
}
