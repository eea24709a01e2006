//! Verification of a whole filesystem, read-only.
//!
//! Findings come out in one order whatever the number of threads: they are sorted.

mod block_groups;
mod checksums;
mod chunk_fault;
mod chunks;
mod device_extents;
mod devices;
mod extent_list;
mod extents;
mod files;
mod findings;
mod free_space;
mod items;
mod reached;
mod reference;
mod scan;
mod sketch;
mod structure;
mod subvolumes;
mod superblock_fields;
mod superblock_ranges;
mod superblocks;
mod system_array;
mod totals;
mod trees;

use crate::volume::Volume;

pub use checksums::ChecksumProblem;
pub use extent_list::{Extent, ExtentList};
pub use extents::ExtentProblem;
pub use files::{FileProblem, NameProblem};
pub use findings::{Findings, Problem};
pub use scan::BlockProblem;
pub use structure::{check_structure, structure_kinds};
pub use subvolumes::SubvolumeProblem;

use checksums::Checksums;
use extents::{Claims, Found, Trees};
use files::{Rules, Seen};
use scan::{Scan, Tree, Visit};
use subvolumes::Facts;
use trees::Roots;

/// Checks the filesystem; the problems come in order.
pub fn check(volume: &Volume, threads: usize) -> Vec<Problem> {
    let findings = Findings::default();
    let scan = Scan::new(volume, threads, &findings);
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
    let claims = roots.extent_tree.as_ref().map(|tree| Claims::read(&scan, volume, tree, &mut found));
    let claims = claims.unwrap_or_default();
    let checksums = Checksums::read(&scan, volume, &roots.others, &mut found, &claims.extents, &findings);
    let rules = Rules::new(volume, &checksums);
    let mut seen = Vec::new();
    let visit = |(found, facts, seen): &mut (Found, Facts, Seen), tree: &Tree, visit: Visit<'_>| {
        found.visit(tree, &visit, &claims.extents, &findings);
        facts.visit(tree, &visit);
        seen.visit(tree, &visit, &rules);
    };
    for (found_part, facts_part, seen_part) in scan.run(&roots.others, visit) {
        found.push(found_part);
        facts.merge(facts_part);
        seen.push(seen_part);
    }
    scan.run(&roots.logs, |_: &mut (), _, _| {});
    check_structure(volume, &claims.extents, &findings);

    let unread = scan.unread();
    if roots.extent_tree.is_some() {
        checksums.check_extents(&claims.extents, &unread, &findings);
    }
    let file_trees: Vec<Tree> = roots.others.iter().filter(|tree| facts.is_live(tree)).copied().collect();
    subvolumes::check(volume, &file_trees, &facts, &unread, &findings);
    files::check(volume, threads, &rules, &file_trees, seen, &unread, &findings);

    if let Some(extent_tree) = roots.extent_tree {
        let mut others = roots.others;
        others.push(roots.root_tree);
        let mut all = Found::default();
        found.into_iter().for_each(|part| all.merge(part));
        others.iter().chain([&extent_tree]).for_each(|tree| all.root(tree));
        let trees = Trees { extent_tree, others, unread };
        extents::compare(volume, threads, &claims, &all, &trees, &findings);
    }
    findings.into_sorted()
}
