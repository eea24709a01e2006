//! What the commands that change chunks have in common.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Logical, Physical};
use crate::trans::Filesystem;
use crate::volume::{ChunkMapping, MissingDevices};

#[derive(Debug, clap::Args)]
pub struct Images {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,

    /// Say what would be done, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Write the devices that are there, although others are missing
    #[arg(long)]
    degraded: bool,

    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,

    /// Images or block devices of one filesystem, in any order
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

impl Images {
    pub fn open_for_change(&self) -> crate::Result<Filesystem> {
        let missing = if self.degraded { MissingDevices::Skip } else { MissingDevices::Refuse };
        Filesystem::open(&self.images, missing)
    }
}

/// A chunk that came or went.
#[derive(Clone, Debug, Serialize)]
pub struct ChunkRecord {
    pub logical: Logical,
    length: u64,
    r#type: &'static str,
    profile: &'static str,
    stripes: Vec<StripeRecord>,
}

#[derive(Clone, Debug, Serialize)]
struct StripeRecord {
    devid: u64,
    offset: Physical,
}

impl ChunkRecord {
    pub fn new(chunk: &ChunkMapping) -> Self {
        let stripe =
            |stripe: &crate::volume::StripeMapping| StripeRecord { devid: stripe.devid, offset: stripe.physical };
        Self {
            logical: chunk.logical,
            length: chunk.length,
            r#type: type_name(chunk.flags),
            profile: chunk.profile.name(),
            stripes: chunk.stripes.iter().map(stripe).collect(),
        }
    }
}

fn type_name(flags: BlockGroupFlags) -> &'static str {
    if flags.contains(block_group::DATA | block_group::METADATA) {
        "data+metadata"
    } else if flags.contains(block_group::DATA) {
        "data"
    } else if flags.contains(block_group::SYSTEM) {
        "system"
    } else {
        "metadata"
    }
}

impl fmt::Display for ChunkRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chunk {}: {} bytes, {} {}, stripes", self.logical, self.length, self.r#type, self.profile)?;
        let mut separator = "";
        for stripe in &self.stripes {
            write!(f, "{separator} {}:{}", stripe.devid, stripe.offset)?;
            separator = ",";
        }
        Ok(())
    }
}

/// System space and the system chunk array.
#[derive(Clone, Debug, Serialize)]
pub struct SystemRecord {
    total: u64,
    used: u64,
    array_bytes: u32,
}

impl SystemRecord {
    pub fn of(fs: &Filesystem) -> Self {
        let array_bytes = fs.chunks().superblock.sys_chunk_array_size.get();
        let space = fs.space();
        let info = space.info(BlockGroupFlags(block_group::SYSTEM));
        Self { total: info.total, used: info.used, array_bytes }
    }
}

/// The report for a person.
pub struct Changed<'a> {
    pub verb: &'static str,
    pub chunks: &'a [ChunkRecord],
    pub before: &'a SystemRecord,
    pub after: &'a SystemRecord,
}

impl fmt::Display for Changed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.chunks {
            writeln!(f, "{} {chunk}", self.verb)?;
        }
        let (before, after) = (self.before, self.after);
        writeln!(
            f,
            "system space: {} bytes, before {}; used {}, before {}",
            after.total, before.total, after.used, before.used
        )?;
        writeln!(f, "system chunk array: {} bytes, before {}", after.array_bytes, before.array_bytes)
    }
}
