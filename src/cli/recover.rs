//! Opening a filesystem some of whose tree blocks are lost, to read its files.

use clap::ValueEnum;

use crate::Error;
use crate::extract::DoubtfulInodes;
use crate::image::Image;
use crate::progress::Progress;
use crate::repair::{Force, Options, recover};
use crate::volume::{MissingDevices, RootChoice, Volume};

use super::findings::write_lines;
use super::open::Images;
use super::watch::{Display, watched};
use super::{hint, output};

/// Bytes for records; more of them go to temporary files.
const MEMORY: u64 = 32 << 20;

/// When lost tree blocks are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// Before all is extracted, and where the filesystem cannot be opened without them
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How the search is made.
pub struct Search<'s> {
    pub when: When,
    /// Whether all of the filesystem is going to be read.
    pub is_whole: bool,
    pub threads: usize,
    pub progress: &'s Progress,
    pub display: Display,
}

/// A filesystem to read files of.
pub struct Opened {
    pub volume: Volume,
    /// What may not be as it was.
    pub doubts: Vec<DoubtfulInodes>,
}

/// Opens a filesystem, with what can take the place of lost tree blocks. Nothing is written.
pub fn open(program: &str, images: &Images, choice: &RootChoice, search: &Search<'_>) -> anyhow::Result<Opened> {
    let mut plain = images.open_at(program, choice);
    let is_wanted = match search.when {
        When::Auto => search.is_whole || plain.as_ref().is_err_and(|error| !is_of_superblock(error)),
        When::Always => true,
        When::Never => false,
    };
    if is_wanted {
        match watched(search.display, search.progress, || opened(program, images, choice, search)) {
            Ok(Some(opened)) => return Ok(opened),
            Err(error @ (Error::Interrupted | Error::Temporary(_))) => return Err(error.into()),
            // Then the first error tells more.
            Err(error) if plain.is_ok() => {
                output::warning(program, &format_args!("tree blocks that are lost stay lost: {error}"));
            }
            Ok(None) | Err(_) => plain = plain.map_err(hint::after_search),
        }
    }
    Ok(Opened { volume: plain?.0, doubts: Vec::new() })
}

/// Whether nothing says that there is a filesystem. To look for one, all of the image has to be read.
fn is_of_superblock(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::NotBtrfs { .. } | Error::Superblock { .. }))
}

/// The filesystem with something in the place of what is lost; nothing if nothing is.
fn opened(program: &str, images: &Images, choice: &RootChoice, search: &Search<'_>) -> Result<Option<Opened>, Error> {
    let staged: Vec<Image> = images.open_images()?.into_iter().map(Image::staged).collect();
    let options = Options {
        threads: search.threads,
        memory: MEMORY,
        progress: search.progress,
        check_data_csum: false,
        missing: MissingDevices::Skip,
        choice: *choice,
        force: Force::default(),
        copies_only: false,
    };
    let recovered = recover(&staged, &options)?;
    if recovered.fixes.is_empty() {
        return Ok(None);
    }
    let volume = Volume::open_at(staged, &recovered.choice)?;
    if !images.quiet {
        let mut text = Vec::new();
        write_lines(recovered.fixes.iter(), false, &mut text, ToString::to_string).map_err(Error::Output)?;
        for line in String::from_utf8_lossy(&text).lines() {
            output::warning(program, &format_args!("read, and not written: {line}"));
        }
    }
    Ok(Some(Opened { volume, doubts: recovered.doubts }))
}
