//! What helps where a filesystem cannot be opened, or not as the command needs it: for the messages and documents of all
//! commands.

use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::disk::superblock::{SUPER_INFO_SIZE, SUPER_OFFSETS};
use crate::error::Error;
use crate::image::Image;
use crate::volume::{Device, Notice, RootChoice, Volume, identify_other};

use super::words::{command, quoted};

/// An error after the trees of a filesystem were searched for in vain. It reads as the error alone.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Searched(String);

/// Says of an error that a search came before it, so that no hint asks for that search.
pub fn after_search(error: anyhow::Error) -> anyhow::Error {
    let text = error.to_string();
    error.context(Searched(text))
}

/// What a person does about the error of the command `name` with these arguments, as a clause; nothing where the error says it, or
/// where there is nothing to do.
pub fn of_error(name: &str, matches: &ArgMatches, error: &anyhow::Error) -> Option<String> {
    let matches = innermost(matches);
    let images = operands(matches)?;
    let is_searched = error.is::<Searched>();
    match error.downcast_ref::<Error>()? {
        Error::NotBtrfs { .. } | Error::Superblock { .. } => of_superblocks(&images, is_searched),
        Error::MissingDevice { .. } | Error::StaleDevice { .. } if has_option(matches, "degraded") => {
            Some("--degraded goes on without it".to_owned())
        }
        Error::Replacing if has_option(matches, "cancel_replace") => {
            Some("--cancel-replace gives the replacement up".to_owned())
        }
        Error::PendingLog => Some(format!("{} gives it up", command("check --clear-log", &[], &images))),
        Error::Unrelated { .. } => {
            Some("rbtrfs dump-super prints the fsid and the uuid that each device has".to_owned())
        }
        Error::Read { path, .. } if images.contains(path) => {
            let name = quoted(path);
            Some(format!("copy the disk before it fails (ddrescue {name} COPY.img COPY.map), and use the copy"))
        }
        Error::Truncated { .. } => Some(COPY_ANEW.to_owned()),
        Error::NoBackupRoot => Some(of_roots(&images)),
        error if is_of_damage(error) => of_damage(name, matches, &images, is_searched),
        _ => None,
    }
}

const COPY_ANEW: &str = "copy the device anew, all of it";

/// What else a notice asks for.
pub fn of_notice(notice: &Notice, images: &[PathBuf], volume: &Volume) -> Option<String> {
    match notice {
        Notice::MissingDevice { .. } => give_all(images, volume),
        Notice::Truncated { .. } => Some(COPY_ANEW.to_owned()),
        Notice::MirrorSuperblock { .. } => Some("rbtrfs check --repair writes it anew".to_owned()),
        _ => None,
    }
}

/// Asks for the other devices of a filesystem, if there are any.
pub fn give_all(images: &[PathBuf], volume: &Volume) -> Option<String> {
    let devices = volume.superblock().num_devices.get();
    ((images.len() as u64) < devices).then(|| format!("give all {devices} images"))
}

/// What can be done about images some of which have no superblock; nothing where all have, or where another filesystem has
/// taken the place of this one.
pub fn of_superblocks(images: &[PathBuf], is_searched: bool) -> Option<String> {
    let (mut lost, mut others) = (0, 0);
    for path in images {
        let image = Image::open_unmapped(path).ok()?;
        let may_have_had_one = image.size() >= LEAST && identify_other(&image).ok()?.is_none();
        match Device::open(image, None) {
            Ok(_) => others += 1,
            Err(Error::NotBtrfs { .. } | Error::Superblock { .. }) if may_have_had_one => lost += 1,
            Err(_) => return None,
        }
    }
    Some(match (lost, others, is_searched) {
        (0, ..) => return None,
        (1, 0, true) => "no trees of a btrfs on one device were found; of several devices, give all images".to_owned(),
        (_, 0, true) => "of several devices one at least has to have a superblock".to_owned(),
        (_, _, true) => "what is on it is of no device that the others lack".to_owned(),
        (_, _, false) => format!(
            "if there was a btrfs, {} looks for its trees, and {} brings its files out",
            command("check --repair --dry-run", &[], images),
            command("extract -C FILES", &[], images)
        ),
    })
}

/// Bytes of an image that has room for a superblock.
const LEAST: u64 = SUPER_OFFSETS[0].0 + SUPER_INFO_SIZE as u64;

/// Whether the error can come of what the filesystem lacks or of what is wrong with it, rather than of what was asked for.
fn is_of_damage(error: &Error) -> bool {
    matches!(
        error,
        Error::Block { .. }
            | Error::Extent { .. }
            | Error::Edit { .. }
            | Error::NoTree { .. }
            | Error::Damaged { .. }
            | Error::NeverSettles { .. }
    )
}

fn of_damage(name: &str, matches: &ArgMatches, images: &[PathBuf], is_searched: bool) -> Option<String> {
    if let Some(hint) = of_missing(images) {
        return Some(hint);
    }
    if is_chosen(matches, "tree_root") {
        return Some(of_roots(images));
    }
    // Former roots are looked for without such a search.
    match has_option(matches, "recover") && !is_searched && !is_chosen(matches, "roots") {
        true => Some(format!("--recover always looks for what can take its place, and {}", of_check(images))),
        false if ["check", "fsck"].contains(&name) => None,
        false => Some(of_check(images)),
    }
}

/// What can be done about blocks of trees that a command could not read, and went on without.
pub fn of_unreadable(images: &[PathBuf]) -> String {
    of_missing(images).unwrap_or_else(|| of_check(images))
}

fn of_missing(images: &[PathBuf]) -> Option<String> {
    let opened: Result<Vec<Image>, Error> = images.iter().map(|path| Image::open_unmapped(path)).collect();
    let volume = opened.and_then(|images| Volume::open_without_chunk_tree(images, &RootChoice::default()));
    give_all(images, &volume.ok()?)
}

fn of_check(images: &[PathBuf]) -> String {
    format!("{} says what is wrong and what to do next", command("check", &[], images))
}

fn of_roots(images: &[PathBuf]) -> String {
    format!("{} lists the root trees that are found, for --tree-root", command("extract --roots", &[], images))
}

/// What the innermost subcommand was given.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| innermost(matches))
}

/// The images that a command was given.
fn operands(matches: &ArgMatches) -> Option<Vec<PathBuf>> {
    ["images", "seeds"].into_iter().find_map(|id| Some(matches.try_get_many::<PathBuf>(id).ok()??.cloned().collect()))
}

/// Whether the command has an option that stands for something if it is not given.
fn has_option(matches: &ArgMatches, id: &str) -> bool {
    matches.ids().any(|known| known == id)
}

fn is_chosen(matches: &ArgMatches, id: &str) -> bool {
    has_option(matches, id) && matches.value_source(id) == Some(ValueSource::CommandLine)
}
