//! What the commands that change chunks have in common.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Logical, Physical};
use crate::error::Error;
use crate::trans::Filesystem;
use crate::volume::{ChunkMapping, MissingDevices, Notice};

use super::watch::busy;
use super::{document, output};

#[derive(Debug, clap::Args)]
pub struct Images {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,

    /// Say what would be done, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Write the devices that are there and whole, although others are missing or stale
    #[arg(long)]
    degraded: bool,

    /// Write to rows of RAID5 and RAID6 chunks that hold something already, too
    #[arg(long)]
    allow_partial_rows: bool,

    /// Give up a replacement of a device by the kernel that is not finished; its target is none of the IMAGE operands
    #[arg(long, conflicts_with = "dry_run")]
    cancel_replace: bool,

    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,

    /// Images or block devices of one filesystem, in any order
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

impl Images {
    /// Opens the filesystem, and warns of devices that are there and yet left out.
    pub fn open_for_change(&self, program: &str) -> crate::Result<Filesystem> {
        if self.cancel_replace
            && let Some(devid) = Filesystem::cancel_replacement(&self.images, self.missing())?
            && !self.quiet
        {
            output::warning(program, &format_args!("the replacement of device {devid} was given up: wipe its target"));
        }
        let mut fs = Filesystem::open(&self.images, self.missing())?;
        self.prepare(&mut fs, program)?;
        Ok(fs)
    }

    fn missing(&self) -> MissingDevices {
        if self.degraded { MissingDevices::Skip } else { MissingDevices::Refuse }
    }

    fn prepare(&self, fs: &mut Filesystem, program: &str) -> crate::Result<()> {
        let left_out = |notice: &&Notice| matches!(notice, Notice::StaleDevice { .. });
        for notice in fs.volume().notices().iter().filter(left_out).filter(|_| !self.quiet) {
            output::warning(program, notice);
        }
        if self.allow_partial_rows {
            fs.allow_partial_rows()?;
        }
        Ok(())
    }

    /// As [`Images::open_for_change`], for what commits more than once: a dry run goes the whole way, and nothing of it reaches the
    /// images.
    pub fn open_to_move(&self, program: &str) -> crate::Result<Filesystem> {
        if !self.dry_run {
            return self.open_for_change(program);
        }
        let mut fs = Filesystem::rehearse(&self.images, self.missing())?;
        self.prepare(&mut fs, program)?;
        Ok(fs)
    }

    pub fn paths(&self) -> &[PathBuf] {
        &self.images
    }

    /// Adds to an error of space what an option would give.
    pub fn explain(&self, fs: &Filesystem, error: crate::Error) -> anyhow::Error {
        let partial = fs.space().partial_bytes();
        match error {
            crate::Error::NoSpace { what: "metadata" | "system", .. } if partial > 0 && !self.allow_partial_rows => {
                anyhow::anyhow!(
                    "{error}; {partial} bytes more are free in rows with parity that hold something already: \
                 --allow-partial-rows writes there"
                )
            }
            error => error.into(),
        }
    }
}

/// What chunks are for.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum ChunkKind {
    Data,
    Metadata,
    System,
}

impl ChunkKind {
    pub fn type_bits(self) -> u64 {
        match self {
            ChunkKind::Data => block_group::DATA,
            ChunkKind::Metadata => block_group::METADATA,
            ChunkKind::System => block_group::SYSTEM,
        }
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
            r#type: chunk.flags.type_name(),
            profile: chunk.profile.name(),
            stripes: chunk.stripes.iter().map(stripe).collect(),
        }
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

/// How a command calls what it does.
pub struct Words {
    pub done: &'static str,
    pub planned: &'static str,
    /// Why nothing is done.
    pub nothing: &'static str,
}

/// What a command did, or would do.
pub struct Changed {
    pub schema: &'static str,
    pub words: Words,
    pub chunks: Vec<ChunkRecord>,
    pub before: SystemRecord,
    pub after: SystemRecord,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    dry_run: bool,
    chunks: &'a [ChunkRecord],
    system: &'a SystemRecord,
}

impl Changed {
    /// Makes it real, unless it is only to be told or nothing changed, and tells.
    pub fn finish(&self, mut fs: Filesystem, images: &Images) -> anyhow::Result<()> {
        if images.dry_run || self.chunks.is_empty() {
            return self.tell(images);
        }
        match busy("writing", images.quiet, || fs.commit()) {
            Ok(()) => output::after_change(self.tell(images)),
            // It was done all the same. Of two errors that of the disk counts.
            Err(Error::PartlyPublished(partly)) if partly.is_sure() => {
                let _ = self.tell(images);
                Err(Error::PartlyPublished(partly).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn text(&self, dry_run: bool) -> String {
        let Self { words, before, after, .. } = self;
        if self.chunks.is_empty() {
            return format!("{}\n", words.nothing);
        }
        let verb = if dry_run { words.planned } else { words.done };
        let chunks: String = self.chunks.iter().map(|chunk| format!("{verb} {chunk}\n")).collect();
        format!(
            "{chunks}system space: {} bytes, before {}; used {}, before {}\n\
             system chunk array: {} bytes, before {}\n",
            after.total, before.total, after.used, before.used, after.array_bytes, before.array_bytes
        )
    }

    fn tell(&self, images: &Images) -> anyhow::Result<()> {
        let mut out = output::stdout()?;
        if images.json {
            let Self { schema, chunks, after: system, .. } = self;
            document::write(&mut out, &Document { schema, dry_run: images.dry_run, chunks, system })?;
        } else if !images.quiet {
            out.write_all(self.text(images.dry_run).as_bytes())?;
        }
        Ok(())
    }
}
