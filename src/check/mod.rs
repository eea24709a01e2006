//! Verification of a whole filesystem, read-only.
//!
//! Findings come out in one order whatever the number of threads: they are sorted.

mod backup_roots;
mod block_groups;
mod checksums;
mod chunk_fault;
mod chunks;
mod data;
mod device_extents;
mod devices;
mod extent_list;
mod extents;
mod files;
mod findings;
mod free_ranges;
mod free_space;
mod items;
mod job;
mod log_trees;
mod quotas;
mod reached;
mod reference;
mod report;
mod scan;
mod sketch;
mod space_cache;
mod space_cache_file;
mod structure;
mod subvolumes;
mod superblock_fields;
mod superblocks;
mod system_array;
mod system_space;
mod totals;
mod trees;
mod zoned;

use crate::disk::objectid;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::table::{Room, Writer};
use crate::volume::Volume;

pub use checksums::{ChecksumProblem, Checksums};
pub use data::DataProblem;
pub use extent_list::{Extent, ExtentList};
pub use extents::ExtentProblem;
pub use files::{FileProblem, NameProblem};
pub use findings::{Findings, Problem};
pub use quotas::{QgroupReport, QuotaProblem};
pub use report::{BadCopies, Report, Totals};
pub use scan::BlockProblem;
pub use structure::check_structure;
pub use subvolumes::SubvolumeProblem;

use extents::{Claims, Found, Trees};
use files::{Forest, Rules, Seen};
use job::Job;
use quotas::{Gathered, Pointers, Quotas};
use scan::{Scan, Tree, Visit};
use subvolumes::Facts;
use trees::Roots;

/// How to check.
pub struct Options<'a> {
    pub threads: usize,
    /// Bytes that records may take of the memory; what has no room is kept in temporary files. Not in this: one
    /// record of 16 bytes for each tree block, and the problems.
    pub memory: u64,
    pub progress: &'a Progress,
    /// Count for quota groups also where the filesystem says that its own counts are not right.
    pub count_qgroups: bool,
    /// Verify data, too.
    pub check_data_csum: bool,
}

/// Checks the filesystem. Fails only where it is stopped, or where temporary files cannot be written.
pub fn check(volume: &Volume, options: &Options<'_>) -> Result<Report> {
    volume.undisturbed(|| check_once(volume, options))
}

fn check_once(volume: &Volume, options: &Options<'_>) -> Result<Report> {
    let findings = Findings::default();
    let job = Job { volume, threads: options.threads, progress: options.progress, findings: &findings };
    let (totals, qgroups) = run(&job, &Room::new(options.memory), options)?;
    let problems = findings.into_sorted();
    let bad_copies = report::bad_copies(&problems);
    Ok(Report { problems, totals: Totals { bad_copies, ..totals }, qgroups })
}

fn run(job: &Job<'_>, room: &Room, options: &Options<'_>) -> Result<(Totals, Vec<QgroupReport>)> {
    let Job { volume, progress, findings, .. } = *job;
    progress.begin("extents", 0);
    let scan = Scan::new(job);
    let visit_early = |(found, facts): &mut (Found, Facts), tree: &Tree, visit: &Visit<'_>| {
        found.visit_early(tree, visit);
        facts.visit_root_tree(visit);
    };
    let (roots, early) = Roots::read(&scan, volume, visit_early);
    let mut facts = Facts::default();
    let mut found = Vec::new();
    for (part, facts_part) in early {
        found.push(part);
        facts.merge(facts_part);
    }
    let quotas = Quotas::read(volume, &roots.others, facts.is_any_dropping(), options.count_qgroups, findings);
    let claims = roots.extent_tree.as_ref().map(|tree| Claims::read(&scan, volume, room, tree, &quotas, &mut found));
    let mut claims = claims.transpose().map_err(Error::Temporary)?.unwrap_or_default();
    stop(progress)?;

    progress.begin("trees", claims.tree_bytes.saturating_sub(progress.moment().done));
    let checksums = Checksums::read(&scan, volume, &roots.others, &mut found, &claims.extents, findings);
    let rules = Rules::new(volume, &checksums);
    let (leaves, pointers) = (Writer::new(room), Pointers::new(room));
    let visit = |(found, facts, seen, usage): &mut (Found, Facts, Seen, Gathered), tree: &Tree, visit: Visit<'_>| {
        found.visit(tree, &visit, &claims.extents, findings);
        facts.visit(tree, &visit);
        seen.visit(tree, &visit, &rules, &leaves);
        usage.visit(&quotas, &pointers, tree, &visit);
    };
    let (mut seen, mut usage) = (Vec::new(), Vec::new());
    for (found_part, facts_part, seen_part, usage_part) in scan.run(&roots.others, visit) {
        found.push(found_part);
        facts.merge(facts_part);
        seen.push(seen_part);
        usage.push(usage_part);
    }
    scan.run(&roots.logs, |_: &mut (), _, _| {});
    stop(progress)?;

    progress.begin("structure", 0);
    let logged = check_structure(volume, &claims.extents, &checksums, findings);
    stop(progress)?;

    progress.begin("files", 0);
    let unread = scan.unread();
    if roots.extent_tree.is_some() {
        checksums.check_extents(&claims.extents, logged, &unread, findings);
    }
    let file_trees: Vec<Tree> = roots.others.iter().filter(|tree| facts.is_live(tree)).copied().collect();
    subvolumes::check(volume, &file_trees, &facts, &unread, findings);
    let mut forest = Forest::new(seen, leaves, &unread, &rules).map_err(Error::Temporary)?;
    files::check(job, &rules, &file_trees, &mut forest);
    stop(progress)?;

    progress.begin("quotas", 0);
    let is_unread = !unread.is_empty() || roots.extent_tree.is_none();
    usage.push(std::mem::take(&mut claims.owned).into());
    let qgroups = quotas.check(volume, pointers, usage, &roots.others, is_unread, findings);
    let qgroups = qgroups.map_err(Error::Temporary)?;
    stop(progress)?;

    let mut others = roots.others;
    others.push(roots.root_tree);
    let data = match options.check_data_csum {
        true => {
            let (extents, unread, trees) = (&claims.extents, &unread, &others);
            let known = data::Known { checksums: &checksums, extents, unread, trees, file_trees: &file_trees };
            data::check(job, &known)
        }
        false => data::Amounts::default(),
    };
    stop(progress)?;

    progress.begin("references", 0);
    if let Some(extent_tree) = roots.extent_tree {
        let mut all = Found::default();
        found.into_iter().for_each(|part| all.merge(part));
        others.iter().chain([&extent_tree]).for_each(|tree| all.root(tree));
        extents::compare(job, &claims, &all, &Trees { extent_tree, others, unread });
    }
    stop(progress)?;
    if let Some(failure) = claims.extents.failure().or(forest.failure()) {
        return Err(Error::Temporary(failure));
    }
    let totals = Totals {
        bytes_used: claims.extents.iter().fold(0, |sum: u64, extent| sum.saturating_add(extent.length)),
        extents: claims.extents.count(),
        inodes: forest.inodes(),
        subvolumes: file_trees.iter().filter(|tree| objectid::is_fs_tree(tree.root.key.objectid)).count() as u64,
        blocks: scan.blocks(),
        copies: scan.copies(),
        data_bytes: data.data,
        data_copies_bytes: data.copies,
        parity_bytes: data.parity,
        bad_copies: Vec::new(),
    };
    Ok((totals, qgroups))
}

/// A phase that was stopped has not seen everything: what it found is not to be told.
fn stop(progress: &Progress) -> Result<()> {
    if progress.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
}
