//! The verification of all data that has checksums.

use std::sync::Mutex;

use crate::disk::Logical;
use crate::parallel::{lock, on_threads};
use crate::tree::{Tree, not_placed};
use crate::volume::{ChunkMapping, Volume};

use super::super::blocks::Blocks;
use super::super::csums::CsumRuns;
use super::super::extent_list::ExtentList;
use super::super::job::Job;
use super::files::{FileRange, lost_files};
use super::flaw::{Flaw, Flaws};
use super::piece::{Amounts, SectorVisitor, Verifier};
use super::segment::Segments;

/// What is known before data is read.
pub struct Known<'a> {
    /// Data that has checksums.
    pub csums: &'a CsumRuns,
    /// The extents with items.
    pub extents: &'a ExtentList,
    /// Tree blocks that could not be read.
    pub blocks: &'a Blocks,
    /// The checksum trees.
    pub csum_trees: &'a [Tree],
    /// The trees of files that are not being deleted.
    pub file_trees: &'a [Tree],
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// How much was read.
    pub amounts: Amounts,
    /// In the order of kinds and devices, joined where they are adjacent on a device.
    pub flaws: Vec<Flaw>,
    /// Ranges of files that are lost.
    pub lost_files: Vec<FileRange>,
    /// Chunks of which data with checksums was left out, and why.
    pub not_verified: Vec<(Logical, &'static str)>,
}

/// Reads and verifies all data that has checksums, and parity. `visitor` hears of each sector that is wrong.
pub fn verify<V: SectorVisitor>(job: &Job<'_>, known: &Known<'_>, visitor: &V) -> Verified {
    let Job { volume, progress, .. } = *job;
    progress.begin("data", known.csums.data_bytes());
    let mut verified = Verified::default();
    let mut chunks = Vec::new();
    for chunk in volume.chunks().iter() {
        match not_verified(volume, chunk) {
            // Only of chunks that have data with checksums something is left out.
            Some(reason) if known.csums.is_any(chunk.logical, chunk.length) => {
                verified.not_verified.push((chunk.logical, reason));
            }
            Some(_) => {}
            None => chunks.push(chunk),
        }
    }
    let csum_trees = known.csum_trees.iter();
    let segments = Mutex::new(Segments::new(volume, chunks, csum_trees, known.csums, known.extents));
    let worker = || {
        let mut verifier = Verifier::new(job, visitor);
        while !progress.is_stopped() {
            // Bound to a name so that the others may go on.
            let next = lock(&segments).next();
            let Some(segment) = next else { break };
            verifier.verify(&segment);
        }
        verifier.finish()
    };
    let mut flaws = Flaws::default();
    for (part, amounts) in on_threads(job.threads, worker) {
        flaws.append(part);
        verified.amounts.merge(&amounts);
    }
    if !progress.is_stopped() {
        let flaws = flaws.of_extents(known.extents, known.blocks);
        let lost = flaws.lost();
        if !lost.is_empty() {
            verified.lost_files = lost_files(job, known.file_trees, &lost);
        }
        verified.flaws = flaws.joined();
    }
    verified
}

/// Why the data of a chunk cannot be verified.
fn not_verified(volume: &Volume, chunk: &ChunkMapping) -> Option<&'static str> {
    if volume.superblock().is_changing_csums() {
        return Some("its checksums are being changed to another type");
    }
    not_placed(volume, chunk)
}
