//! The data itself: every checksum against every copy, and parity against the data.

mod files;
mod flaw;
mod piece;
mod segment;
mod sums;

use std::sync::Mutex;

use crate::disk::flags::{block_group, incompat, superblock};
use crate::disk::{Logical, Physical, Profile, objectid};
use crate::finding::findings;
use crate::parallel::{lock, on_threads};
use crate::volume::{ChunkMapping, Volume};

use super::Job;
use super::checksums::Checksums;
use super::extent_list::ExtentList;
use super::scan::{Tree, Unread};
use flaw::{Flaw, Flaws};
use piece::Verifier;
use segment::Segments;

findings! {
    /// Data and parity. A range is one on the device: of a striped chunk it begins at `logical`, and skips what lies on
    /// other devices. Lengths are in bytes.
    DataProblem {
        /// A copy of data is damaged or cannot be read, while another one, or what parity yields, is good.
        BadCopy(
            "data-bad-copy", Error,
            "data {logical}, {length} bytes on device {devid} at {physical}: {problem}; it is good elsewhere"
        ) {
            logical: Logical, length: u64, devid: u64, physical: Physical, problem: String,
        }
        /// No copy of data is good.
        Lost(
            "data-lost", Fatal,
            "data {logical}, {length} bytes on device {devid} at {physical}: {problem}; no copy is good"
        ) {
            logical: Logical, length: u64, devid: u64, physical: Physical, problem: String,
        }
        /// A file refers to data of which no copy is good.
        LostFile("data-lost-file", Fatal, "tree={tree} inode={inode} offset={offset}, {length} bytes are lost") {
            tree: u64, inode: u64, offset: u64, length: u64,
        }
        /// Parity cannot be read or is not that of its row, all data of which is good.
        Parity(
            "parity-bad", Error,
            "parity of data {logical}, {length} bytes on device {devid} at {physical}: {problem}"
        ) {
            logical: Logical, length: u64, devid: u64, physical: Physical, problem: String,
        }
        /// Parity is not that of its row, a part of which has no checksums: a lost device cannot be rebuilt there.
        ParityDisagrees(
            "parity-disagrees", Warning,
            "parity of data {logical}, {length} bytes on device {devid} at {physical}: {problem}"
        ) {
            logical: Logical, length: u64, devid: u64, physical: Physical, problem: String,
        }
        /// Data was left out of the image, or is placed or summed in a way that is not known: it was not verified.
        NotVerified("data-not-verified", Note, "data of chunk {logical} is not verified: {reason}") {
            logical: Logical, reason: &'static str,
        }
    }
}

/// What was verified, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amounts {
    /// Of data with checksums, however many copies it has.
    pub data: u64,
    /// Of all its copies that were read.
    pub copies: u64,
    /// Of parity.
    pub parity: u64,
}

impl Amounts {
    fn merge(&mut self, other: &Amounts) {
        self.data = self.data.saturating_add(other.data);
        self.copies = self.copies.saturating_add(other.copies);
        self.parity = self.parity.saturating_add(other.parity);
    }
}

/// What a check knows before it reads data.
pub struct Known<'a> {
    pub checksums: &'a Checksums,
    pub extents: &'a ExtentList,
    pub unread: &'a [Unread],
    /// All trees but the extent tree.
    pub trees: &'a [Tree],
    /// Those of files.
    pub file_trees: &'a [Tree],
}

/// Reads and verifies all data that has checksums.
pub fn check(job: &Job<'_>, known: &Known<'_>) -> Amounts {
    let Job { volume, progress, findings, .. } = *job;
    progress.begin("data", known.checksums.data_bytes());
    let mut chunks = Vec::new();
    for chunk in volume.chunks().iter() {
        match not_verified(volume, chunk) {
            // Only of chunks that have data with checksums something is left out.
            Some(reason) if known.checksums.is_any(chunk.logical, chunk.length) => {
                findings.report(DataProblem::NotVerified { logical: chunk.logical, reason });
            }
            Some(_) => {}
            None => chunks.push(chunk),
        }
    }
    let csum_trees = known.trees.iter().filter(|tree| tree.root.key.objectid == objectid::CSUM_TREE);
    let segments = Mutex::new(Segments::new(volume, chunks, csum_trees, known));
    let worker = || {
        let mut verifier = Verifier::new(job);
        while !progress.is_stopped() {
            // Bound to a name so that the others may go on.
            let next = lock(&segments).next();
            let Some(segment) = next else { break };
            verifier.verify(&segment);
        }
        verifier.finish()
    };
    let parts = on_threads(job.threads, worker);
    let (mut flaws, mut amounts) = (Flaws::default(), Amounts::default());
    for (part, verified) in parts {
        flaws.append(part);
        amounts.merge(&verified);
    }
    if !progress.is_stopped() {
        report(job, known, flaws);
    }
    amounts
}

/// Why the data of a chunk cannot be verified.
fn not_verified(volume: &Volume, chunk: &ChunkMapping) -> Option<&'static str> {
    let of_volume = volume.superblock();
    let changing = superblock::CHANGING_DATA_CSUM | superblock::CHANGING_META_CSUM;
    if of_volume.flags.get() & changing != 0 {
        return Some("its checksums are being changed to another type");
    }
    // As `btrfs-image` leaves it: blocks of data are not in the dump.
    if of_volume.flags.get() & (superblock::METADUMP | superblock::METADUMP_V2) != 0 {
        return Some("this is a dump of metadata only");
    }
    if chunk.flags.contains(block_group::REMAPPED) {
        return Some("it is remapped");
    }
    // `btrfs_need_stripe_tree_update` in fs/btrfs/raid-stripe-tree.h; parity and single chunks are not listed there.
    let is_linear = matches!(chunk.profile, Profile::Single | Profile::Raid5 | Profile::Raid6);
    let is_listed = of_volume.has_incompat(incompat::RAID_STRIPE_TREE) && chunk.flags.contains(block_group::DATA);
    (is_listed && !is_linear).then_some("the raid stripe tree places it")
}

fn report(job: &Job<'_>, known: &Known<'_>, flaws: Flaws) {
    let flaws = flaws.of_extents(known.extents, known.unread);
    let lost = flaws.lost();
    if !lost.is_empty() {
        files::report(job, known.file_trees, &lost);
    }
    for flaw in flaws.joined() {
        let Flaw { kind, logical, length, devid, physical, problem, .. } = flaw;
        job.findings.report(match kind {
            flaw::Kind::Copy => DataProblem::BadCopy { logical, length, devid, physical, problem },
            flaw::Kind::Lost => DataProblem::Lost { logical, length, devid, physical, problem },
            flaw::Kind::Parity => DataProblem::Parity { logical, length, devid, physical, problem },
            flaw::Kind::ParityDisagrees => DataProblem::ParityDisagrees { logical, length, devid, physical, problem },
        });
    }
}
