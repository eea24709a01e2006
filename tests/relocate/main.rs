//! What lies in block groups moves elsewhere, and nothing else changes.

mod conversions;
mod crash;
mod damage;
mod full;
mod interrupted;
mod room;
mod snapshots;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;

use rbtrfs::Result;
use rbtrfs::disk::{BlockGroupFlags, Logical, Profile};
use rbtrfs::progress::Progress;
use rbtrfs::relocate::{Evacuation, Moved, Options, relocate};
use rbtrfs::trans::Filesystem;

use support::change::open_for_change;
use support::mounted::Mounted;
use support::{Scratch, or_skip};

/// All block groups, each into chunks of the profile that `into` gives it.
fn all_groups(fs: &Filesystem, into: impl Fn(BlockGroupFlags) -> Option<Profile>) -> Vec<Evacuation> {
    let space = fs.space();
    let groups = space.groups().filter_map(|group| Some((group.logical, into(group.flags)?)));
    groups.map(|(start, into)| Evacuation { start, into }).collect()
}

fn move_groups(images: &[PathBuf], choose: impl Fn(&Filesystem) -> Vec<Evacuation>) -> Result<Moved> {
    let fs = open_for_change(images);
    let (progress, mut moved) = (Progress::default(), Moved::default());
    let options = Options { threads: 2, progress: &progress };
    let evacuations = choose(&fs);
    relocate(fs, &evacuations, &options, &mut moved).map(drop)?;
    Ok(moved)
}

fn move_all(images: &[PathBuf]) -> Result<Moved> {
    move_groups(images, |fs| all_groups(fs, |flags| flags.profile()))
}

/// Addresses of all chunks.
fn chunks(images: &[PathBuf]) -> Vec<(Logical, BlockGroupFlags)> {
    support::open(images).chunks().iter().map(|chunk| (chunk.logical, chunk.flags)).collect()
}

fn contents(images: &[PathBuf], scratch: &Scratch) -> Option<String> {
    Some(or_skip(Mounted::new(images, "ro", scratch))?.contents())
}
