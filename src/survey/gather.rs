//! The pass over all blocks, in which a survey comes about.

use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;

use crate::block::Block;
use crate::disk::Logical;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::table::{MemoryBudget, Writer};
use crate::tree::{BlockPlace, Scan, Tree, TreeRoot, Visit, Visitor};
use crate::volume::{BadCopy, Volume};

use super::blocks::{BlockRules, Blocks, BlocksPart};
use super::csums::{CsumRuns, Run, runs_of};
use super::files::{Forest, Rules, Seen};
use super::job::Job;
use super::logs::{LogTree, LogsPart};
use super::quotas::{Counted, Pointers, Quotas, UsagePart, count};
use super::records::{ReferenceRecords, collect_listed, collect_references};
use super::references::{Claims, ClaimsPart, Found};
use super::sketch::Buckets;
use super::structure::{Structure, StructurePart, StructureRules};
use super::subvolumes::Subvolumes;
use super::trees::{Trees, trees_of};
use super::verify::{Known, SectorVisitor, Verified, verify};

/// What to gather, and with what.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How many threads read.
    pub threads: usize,
    /// Bytes that records may take of the memory; what has no room is kept in temporary files. Not in this: one
    /// record of 16 bytes for each tree block, what is damaged, and the items of [`Structure`].
    pub memory: u64,
    /// Told of the work, and able to stop it.
    pub progress: &'a Progress,
    /// Count for quota groups also where the filesystem says that its own counts are not right.
    pub count_qgroups: bool,
    /// Keep a record of each tree block and of each reference to data, see [`Blocks::records`] and [`Survey::used_over`].
    pub keep_blocks: bool,
}

/// The facts.
pub struct Survey {
    /// Roots of all trees.
    pub trees: Trees,
    /// What holds of tree blocks, whatever tree they are of.
    pub blocks: Blocks,
    /// Nothing for filesystems whose block groups and extents are laid out in another way.
    pub structure: Option<Structure>,
    /// What the extent tree says.
    pub claims: Claims,
    /// References that were found in the trees.
    pub found: Found,
    /// Data that has checksums.
    pub csums: CsumRuns,
    /// What the root tree and the uuid tree say of subvolumes.
    pub subvolumes: Subvolumes,
    /// Inodes, leaf by leaf.
    pub files: Forest,
    /// The trees of files that are not being deleted.
    pub file_trees: Vec<Tree>,
    /// What the quota tree says.
    pub quotas: Quotas,
    /// What quota groups use.
    pub counted: Counted,
    /// The tree of log trees, if there is a log.
    pub log_root: Option<LogTree>,
    /// The log trees.
    pub logs: Vec<LogTree>,
    /// What is left of the memory for records.
    budget: MemoryBudget,
}

impl Survey {
    /// Whether anything could not be read.
    pub fn is_unread(&self) -> bool {
        !self.blocks.unread.is_empty() || self.trees.extent_tree.is_none()
    }

    /// Collects the references to the extents in some buckets, claimed and found; nothing without an extent tree. What has no
    /// room in the memory of the survey is kept in temporary files.
    ///
    /// # Errors
    ///
    /// If temporary files cannot be used.
    pub fn references(&self, job: &Job<'_>, buckets: &Buckets) -> io::Result<ReferenceRecords> {
        let Some(extent_tree) = &self.trees.extent_tree else { return Ok(ReferenceRecords::default()) };
        let trees = self.trees.with_extents();
        collect_references(job, &self.budget, extent_tree, &trees, &self.claims.extents, &self.blocks, buckets)
    }

    /// Collects how many references the items of the extents in some buckets list.
    pub fn listed_references(&self, job: &Job<'_>, buckets: &Buckets) -> BTreeMap<Logical, u64> {
        self.trees.extent_tree.iter().flat_map(|tree| collect_listed(job, tree, buckets)).collect()
    }

    /// Reads and verifies all data that has checksums, and parity.
    pub fn verify<V: SectorVisitor>(&self, job: &Job<'_>, visitor: &V) -> Verified {
        let csum_trees: Vec<Tree> = self.trees.checksum_trees().copied().collect();
        let known = Known {
            csums: &self.csums,
            extents: &self.claims.extents,
            blocks: &self.blocks,
            csum_trees: &csum_trees,
            file_trees: &self.file_trees,
        };
        verify(job, &known, visitor)
    }

    /// The first error of a temporary file that records were read from: nothing that was learned is to be used then.
    pub fn failure(&self) -> Option<io::Error> {
        let blocks = self.blocks.records.failure().or(self.blocks.data.failure());
        self.claims.extents.failure().or(self.files.failure()).or(blocks)
    }
}

/// Notes what holds of every block, and hands blocks on to what is gathered of certain trees.
struct Surveyor<'s, P, F> {
    blocks: &'s BlockRules<'s>,
    structure: &'s StructureRules,
    visit: F,
    part: PhantomData<fn() -> P>,
}

/// What one thread learns.
#[derive(Default)]
struct SurveyPart<P> {
    blocks: BlocksPart,
    structure: StructurePart,
    own: P,
}

/// What a surveyor hands on.
enum Event<'a> {
    Visit(Visit<'a>),
    Unreadable,
    Again,
}

impl<P, F: Fn(&mut P, &BlockPlace<'_>, Event<'_>) + Sync> Visitor for Surveyor<'_, P, F> {
    type Part = SurveyPart<P>;

    fn visit(&self, part: &mut Self::Part, place: &BlockPlace<'_>, visit: Visit<'_>) {
        part.blocks.visit(self.blocks, place, visit.block());
        part.structure.visit(self.structure, place, visit);
        (self.visit)(&mut part.own, place, Event::Visit(visit));
    }

    fn unreadable(&self, part: &mut Self::Part, place: &BlockPlace<'_>, bad: Vec<BadCopy>) {
        part.blocks.unreadable(place, bad);
        part.structure.unreadable(self.structure, place);
        (self.visit)(&mut part.own, place, Event::Unreadable);
    }

    fn bad_copies(&self, part: &mut Self::Part, place: &BlockPlace<'_>, bad: Vec<BadCopy>, _: Block<'_>) {
        part.blocks.bad_copies(place, bad);
    }

    fn again(&self, part: &mut Self::Part, place: &BlockPlace<'_>) {
        part.structure.again(self.structure, place);
        (self.visit)(&mut part.own, place, Event::Again);
    }
}

/// The scan of a survey, run by run.
struct Pass<'p, 'v> {
    scan: &'p Scan<'v>,
    block_rules: &'p BlockRules<'p>,
    structure_rules: &'p StructureRules,
    blocks: Blocks,
    structure: Vec<StructurePart>,
}

impl Pass<'_, '_> {
    /// Visits all blocks of `trees` that no earlier run visited.
    fn run<P: Default + Send>(
        &mut self,
        trees: &[Tree],
        visit: impl Fn(&mut P, &BlockPlace<'_>, Event<'_>) + Sync,
    ) -> Vec<P> {
        let surveyor = Surveyor { blocks: self.block_rules, structure: self.structure_rules, visit, part: PhantomData };
        let mut own = Vec::new();
        for part in self.scan.run(trees, &surveyor) {
            self.blocks.take(part.blocks);
            self.structure.push(part.structure);
            own.push(part.own);
        }
        own
    }

    /// As [`Pass::run`], for what looks at good blocks alone.
    fn visit<P: Default + Send>(&mut self, trees: &[Tree], visit: impl Fn(&mut P, &Tree, Visit<'_>) + Sync) -> Vec<P> {
        self.run(trees, |part: &mut P, place, event| {
            if let Event::Visit(block) = event {
                visit(part, place.tree, block);
            }
        })
    }

    /// The blocks of a tree of roots.
    fn roots<P: Default + Send>(
        &mut self,
        tree: &Tree,
        visit: impl Fn(&mut P, &BlockPlace<'_>, Event<'_>) + Sync,
    ) -> (Vec<Tree>, Vec<P>) {
        let parts = self.run(std::slice::from_ref(tree), |(trees, own): &mut (Vec<Tree>, P), place, event| {
            if let Event::Visit(Visit::Leaf(leaf)) = &event {
                trees.extend(trees_of(*leaf));
            }
            visit(own, place, event);
        });
        let (trees, own): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        (trees.concat(), own)
    }
}

fn of_log(volume: &Volume, part: &mut LogsPart, place: &BlockPlace<'_>, event: Event<'_>) {
    match event {
        Event::Visit(visit) => part.visit(volume, place, visit),
        Event::Unreadable => part.unreadable(place),
        Event::Again => part.again(place),
    }
}

/// Gathers the facts. Fails only where it is stopped, or where temporary files cannot be used.
pub fn gather(volume: &Volume, options: &Options<'_>) -> Result<Survey> {
    let Options { threads, progress, count_qgroups, .. } = *options;
    let budget = MemoryBudget::new(options.memory);
    progress.begin("extents", 0);
    let scan = Job { volume, threads, progress }.scan();
    let block_rules = BlockRules::new(volume, &scan, options.keep_blocks.then_some(&budget));
    let structure_rules = StructureRules::new(volume.superblock());
    let (blocks, structure) = Default::default();
    let mut pass =
        Pass { scan: &scan, block_rules: &block_rules, structure_rules: &structure_rules, blocks, structure };
    let (mut found, mut subvolumes) = (Found::default(), Subvolumes::default());

    let root_tree = Tree::whole(TreeRoot::root_tree(volume));
    let (of_roots, early) = pass.roots(&root_tree, |(found, facts): &mut (Found, Subvolumes), place, event| {
        if let Event::Visit(visit) = event {
            found.visit_early(place.tree, visit);
            facts.visit_root_tree(visit);
        }
    });
    for (found_part, facts) in early {
        found.merge(found_part);
        subvolumes.merge(facts);
    }
    let log_root = TreeRoot::log_root_tree(volume).map(Tree::whole);
    let visit_log = |part: &mut LogsPart, place: &BlockPlace<'_>, event: Event<'_>| of_log(volume, part, place, event);
    let (of_logs, log_root_parts) = log_root.as_ref().map(|tree| pass.roots(tree, visit_log)).unwrap_or_default();
    let trees = Trees::new(volume, of_roots, of_logs);

    let quotas = Quotas::read(volume, &scan, &trees.others, subvolumes.is_any_dropping(), count_qgroups);
    let extents = Writer::new(&budget);
    let nodesize = volume.format().nodesize;
    let of_extent_tree = trees.extent_tree.as_slice();
    let parts = pass.visit(of_extent_tree, |(found, claims): &mut (Found, ClaimsPart), tree, visit| {
        found.visit_early(tree, visit);
        claims.visit(visit, nodesize, &quotas, &extents);
    });
    let (found_parts, claims): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    found_parts.into_iter().for_each(|part| found.merge(part));
    let mut claims = Claims::new(claims, extents).map_err(Error::Temporary)?;
    stop(progress)?;

    progress.begin("trees", claims.tree_bytes.saturating_sub(progress.moment().done));
    let csum_trees: Vec<Tree> = trees.checksum_trees().copied().collect();
    let format = volume.format();
    let (csum_size, sectorsize) = (format.csum_type.size() as u64, format.sectorsize.into());
    let parts = pass.visit(&csum_trees, |(found, runs): &mut (Found, Vec<Run>), tree, visit| {
        found.visit(tree, visit, &claims.extents);
        if let Visit::Leaf(leaf) = visit {
            runs.extend(runs_of(leaf, csum_size, sectorsize));
        }
    });
    let mut runs = Vec::new();
    for (found_part, mut runs_part) in parts {
        found.merge(found_part);
        runs.append(&mut runs_part);
    }
    let csums = CsumRuns::new(volume, &csum_trees, runs, &pass.blocks);
    let rules = Rules::new(volume, &csums);
    let (leaves, pointers) = (Writer::new(&budget), Pointers::new(&budget));
    let parts = pass.visit(
        &trees.others,
        |(found, facts, seen, usage): &mut (Found, Subvolumes, Seen, UsagePart), tree, visit| {
            found.visit(tree, visit, &claims.extents);
            facts.visit(tree, visit);
            seen.visit(tree, visit, &rules, &leaves);
            usage.visit(&quotas, &pointers, tree, visit);
        },
    );
    let (mut seen, mut usage) = (Vec::new(), Vec::new());
    for (found_part, facts, seen_part, usage_part) in parts {
        found.merge(found_part);
        subvolumes.merge(facts);
        seen.push(seen_part);
        usage.push(usage_part);
    }
    let logs_parts = pass.run(&trees.logs, visit_log);
    stop(progress)?;

    progress.begin("structure", 0);
    let Pass { mut blocks, structure, .. } = pass;
    blocks.finish(&scan, block_rules).map_err(Error::Temporary)?;
    let structure = Structure::new(volume, &structure_rules, &trees.with_extents(), structure);
    let log_root = LogTree::all(volume, trees.log_root.as_slice(), log_root_parts).pop();
    let logs = LogTree::all(volume, &trees.logs, logs_parts);
    if trees.extent_tree.is_some() {
        trees.with_extents().iter().for_each(|tree| found.root(tree));
        found.settle(&claims.extents);
    }
    stop(progress)?;

    progress.begin("files", 0);
    let files = Forest::new(seen, leaves, &blocks.unread, &rules).map_err(Error::Temporary)?;
    let file_trees: Vec<Tree> = trees.others.iter().filter(|tree| subvolumes.is_live(tree)).copied().collect();
    stop(progress)?;

    progress.begin("quotas", 0);
    usage.push(std::mem::take(&mut claims.owned).into());
    let counted = match blocks.unread.is_empty() && trees.extent_tree.is_some() {
        true => count(volume, &quotas, pointers, usage, &trees.others).map_err(Error::Temporary)?,
        false => Counted::Nothing,
    };
    stop(progress)?;
    Ok(Survey {
        trees,
        blocks,
        structure,
        claims,
        found,
        csums,
        subvolumes,
        files,
        file_trees,
        quotas,
        counted,
        log_root,
        logs,
        budget,
    })
}

/// A phase that was stopped has not seen everything: what it found is not to be told.
fn stop(progress: &Progress) -> Result<()> {
    if progress.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
}
