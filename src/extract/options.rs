//! What is extracted, how, and what came of it.

use std::io::Write;
use std::path::Path;

use crate::parallel::default_threads;
use crate::progress::Progress;

use super::doubts::DoubtfulInodes;
use super::glob::Glob;
use super::problem::Problem;

/// Where files are brought to.
pub enum Target<'t> {
    /// A directory, which is made if it is not there.
    Directory(&'t Path),
    /// A stream in the pax format, as GNU tar, libarchive and Python read it.
    Tar(Box<dyn Write + Send + 't>),
}

/// What becomes of a sector that no copy has as its checksum says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadSectors {
    /// It is zeroes.
    #[default]
    Zero,
    /// It is what some copy has, as far as one can be read and, where it is compressed, decompressed.
    Keep,
    /// Its file is left out.
    SkipFile,
}

/// What is extracted, and how.
pub struct Options<'o> {
    /// Paths of what is extracted, from [`crate::files::Files::root`] on, each with all that is below it. None of them means
    /// everything, with what has lost its name.
    pub paths: Vec<Vec<u8>>,
    /// What is left out.
    pub exclude: Vec<Glob>,
    /// Whether snapshots below the root are extracted. They come out as empty directories otherwise.
    pub snapshots: bool,
    /// What becomes of sectors that are bad.
    pub bad_sectors: BadSectors,
    /// Whether the directory may hold what an earlier run has left: files of the right size and time are passed over, others are
    /// written anew.
    pub resume: bool,
    /// Whether ranges that files share are shared in the directory, where its filesystem can do that.
    pub reflink: bool,
    /// What may not be as it was, though it can be read.
    pub doubts: Vec<DoubtfulInodes>,
    /// Number of threads.
    pub threads: usize,
    /// How far the work has come, and whether it is to stop.
    pub progress: &'o Progress,
    /// Receives each thing that is missing or not as it was, on the thread that found it.
    pub on_problem: Box<dyn Fn(Problem) + Send + Sync + 'o>,
}

impl<'o> Options<'o> {
    /// Everything but snapshots, on all threads, with bad sectors as zeroes.
    pub fn new(progress: &'o Progress) -> Self {
        Self {
            paths: Vec::new(),
            exclude: Vec::new(),
            snapshots: false,
            bad_sectors: BadSectors::default(),
            resume: false,
            reflink: true,
            doubts: Vec::new(),
            threads: default_threads(),
            progress,
            on_problem: Box::new(drop),
        }
    }
}

/// What was extracted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Files, links and others that are no directories, each name counted.
    pub files: u64,
    /// Directories, the roots of subvolumes among them.
    pub directories: u64,
    /// Bytes of data.
    pub bytes: u64,
    /// Bytes of these that share blocks with others in the directory.
    pub shared_bytes: u64,
    /// Files that an earlier run had extracted.
    pub passed_over: u64,
    /// Things that were handed to [`Options::on_problem`].
    pub problems: u64,
    /// Paths of the snapshots that were left out.
    pub snapshots_left_out: Vec<Vec<u8>>,
    /// Sockets that were left out: a tar stream has none.
    pub sockets_left_out: u64,
    /// Whether owners, and attributes that only root may set, were not kept: this process is not root's.
    pub owners_left_out: bool,
    /// Attributes that only btrfs has (`btrfs.`), which the directory's filesystem does not take.
    pub properties_left_out: u64,
}
