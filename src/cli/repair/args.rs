//! What a repair is asked for.

use std::path::PathBuf;

use crate::progress::Progress;
use crate::repair::{Force, SpaceCache};
use crate::volume::RootChoice;

use super::super::watch::Display;

// A documentation comment would be taken for that of the command.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Repair")]
pub struct RepairArgs {
    /// Mend what is wrong, if a check of the mended filesystem finds it better
    #[arg(long)]
    pub repair: bool,

    /// Say what a repair would do and what would be left, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Save what a repair overwrites in this new file, for rbtrfs undo
    #[arg(long, value_name = "FILE")]
    pub undo: Option<PathBuf>,

    /// Give up what cannot be saved without asking
    #[arg(short, long)]
    pub yes: bool,

    /// Repair although devices are missing
    #[arg(long)]
    pub degraded: bool,

    /// Build the trees of extents and free space anew
    #[arg(long)]
    init_extent_tree: bool,

    /// Make all checksums anew, of the data as it is
    #[arg(long)]
    init_csum_tree: bool,

    /// Build the cache of free space anew: the hidden files (v1) or the free space tree (v2)
    #[arg(long, value_name = "VERSION")]
    clear_space_cache: Option<CacheVersion>,

    /// Give up the log tree, with what was saved by fsync since the last commit
    #[arg(long)]
    clear_log: bool,

    /// Have the next mount build the uuid tree anew
    #[arg(long)]
    clear_uuid_tree: bool,

    // Where something would be given up, what loses nothing is done alone.
    #[arg(skip)]
    pub is_sparing: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum CacheVersion {
    V1,
    V2,
}

impl RepairArgs {
    /// A repair that asks nothing; where it would give up anything only bad copies are written anew unless `yes`.
    pub fn unasked(yes: bool) -> Self {
        Self { repair: true, yes, is_sparing: !yes, ..Self::default() }
    }

    /// Whether anything but a check is asked for.
    pub fn is_wanted(&self) -> bool {
        self.repair || self.dry_run || self.is_forced()
    }

    pub fn is_forced(&self) -> bool {
        self.init_extent_tree
            || self.init_csum_tree
            || self.clear_log
            || self.clear_uuid_tree
            || self.clear_space_cache.is_some()
    }

    pub fn force(&self) -> Force {
        Force {
            extent_tree: self.init_extent_tree,
            csum_tree: self.init_csum_tree,
            clear_log: self.clear_log,
            clear_space_cache: self.clear_space_cache.map(|version| match version {
                CacheVersion::V1 => SpaceCache::V1,
                CacheVersion::V2 => SpaceCache::V2,
            }),
            uuid_tree: self.clear_uuid_tree,
        }
    }
}

/// How the caller's command wants it.
pub struct Wanted<'w> {
    pub args: &'w RepairArgs,
    pub images: &'w [PathBuf],
    pub choice: RootChoice,
    /// The options that made this choice.
    pub roots: Vec<String>,
    pub threads: usize,
    pub memory: u64,
    pub check_data_csum: bool,
    pub json: bool,
    pub quiet: bool,
    pub all: bool,
    /// Notes too.
    pub notes: bool,
    pub display: Display,
    pub progress: &'w Progress,
}

impl Wanted<'_> {
    /// The options that decide what is found and done, and not how it is told.
    pub fn words(&self) -> Vec<String> {
        let args = self.args;
        let flags = [
            (self.check_data_csum, "--check-data-csum"),
            (args.degraded, "--degraded"),
            (args.init_extent_tree, "--init-extent-tree"),
            (args.init_csum_tree, "--init-csum-tree"),
            (args.clear_log, "--clear-log"),
            (args.clear_uuid_tree, "--clear-uuid-tree"),
            (matches!(args.clear_space_cache, Some(CacheVersion::V1)), "--clear-space-cache v1"),
            (matches!(args.clear_space_cache, Some(CacheVersion::V2)), "--clear-space-cache v2"),
        ];
        let given = flags.into_iter().filter(|(is_given, _)| *is_given).map(|(_, word)| word.to_owned());
        self.roots.iter().cloned().chain(given).collect()
    }
}
