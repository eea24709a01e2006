//! Opening the files of a filesystem, for commands that take paths in it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;

use crate::disk::TreeId;
use crate::files::{Files, Notice, Options, Start};
use crate::parallel::{default_threads, lock};
use crate::progress::Progress;
use crate::volume::Volume;

use super::open::Images;
use super::output;
use super::recover::{self, Opened, Search, When};
use super::roots::Roots;
use super::watch::Display;

/// More notices than this are counted instead of printed.
const SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
pub struct FileArgs {
    /// Begin at the subvolume at this path from the top level, or with this id; 5 is the top level itself
    #[arg(long, value_name = "PATH|ID")]
    subvol: Option<OsString>,

    /// When tree blocks that are lost are looked for elsewhere: a flipped bit is put back, earlier versions are found
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    recover: When,

    #[command(flatten)]
    pub roots: Roots,

    #[command(flatten)]
    pub images: Images,

    /// Paths in the filesystem
    #[arg(last = true, value_name = "PATH")]
    paths: Vec<OsString>,
}

impl FileArgs {
    /// The volume that the images are, as it is.
    pub fn open_volume(&self, program: &str) -> anyhow::Result<Volume> {
        Ok(self.images.open_at(program, &self.roots.choice())?.0)
    }

    /// The volume, to read some files of.
    pub fn open_for_some(&self, program: &str) -> anyhow::Result<Volume> {
        let display = Display::choose(false, self.images.quiet);
        let progress = &Progress::default();
        let search = Search { when: self.recover, is_whole: false, threads: default_threads(), progress, display };
        Ok(recover::open(program, &self.images, &self.roots.choice(), &search)?.volume)
    }

    /// The volume, to read all files of it if no path is given.
    pub fn open_for_all(
        &self,
        program: &str,
        threads: usize,
        progress: &Progress,
        display: Display,
    ) -> anyhow::Result<Opened> {
        let search = Search { when: self.recover, is_whole: self.paths.is_empty(), threads, progress, display };
        recover::open(program, &self.images, &self.roots.choice(), &search)
    }

    /// The files from the subvolume that was chosen on; what is odd about them goes to `notices`.
    pub fn open<'v>(&self, volume: &'v Volume, notices: &'v Notices) -> anyhow::Result<Files<'v>> {
        let on_notice = Box::new(|notice| notices.tell(&notice));
        let options = Options { on_notice: Some(on_notice), ..Options::default() };
        let subvol = self.subvol.as_ref().map(|subvol| subvol.as_bytes());
        let id = self.subvol.as_ref().and_then(|subvol| subvol.to_str()?.parse().ok());
        let start = match (id, subvol) {
            (Some(id), _) => Start::Subvolume(TreeId(id)),
            (None, Some(path)) => Start::Path(path),
            (None, None) => Start::Default,
        };
        Ok(Files::open_with(volume, start, options)?)
    }

    /// The paths in the filesystem that are asked for.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.paths.iter().map(|path| path.as_bytes())
    }
}

/// Prints notices, each once.
pub struct Notices {
    program: String,
    is_quiet: bool,
    told: Mutex<HashSet<String>>,
    untold: Mutex<u64>,
}

impl Notices {
    pub fn new(program: &str, is_quiet: bool) -> Self {
        Self { program: program.to_owned(), is_quiet, told: Mutex::default(), untold: Mutex::default() }
    }

    fn tell(&self, notice: &Notice) {
        let text = notice.to_string();
        let mut told = lock(&self.told);
        if told.contains(&text) {
            return;
        }
        if told.len() >= SHOWN {
            *lock(&self.untold) += 1;
            return;
        }
        if !self.is_quiet {
            output::warning(&self.program, &text);
        }
        told.insert(text);
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        let untold = *lock(&self.untold);
        if untold > 0 && !self.is_quiet {
            output::warning(&self.program, &format_args!("{untold} more such warnings"));
        }
    }
}
