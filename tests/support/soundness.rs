//! Whether a filesystem is sound: nothing that a check says of it is more than a note.

use std::path::PathBuf;

use rbtrfs::finding::{Finding, Severity};
use rbtrfs::problem::Problem;

use super::{check, check_data, open};

pub fn beyond_notes(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.retain(|problem| problem.severity() > Severity::Note);
    problems
}

pub fn describe(problems: &[Problem]) -> String {
    let line = |problem: &Problem| format!("\n  {} {}: {problem}", problem.severity(), problem.code());
    problems.iter().map(line).collect()
}

/// Its data not read.
#[track_caller]
pub fn assert_sound(images: &[PathBuf], what: &str) {
    assert_none(check(&open(images), 2), what);
}

#[track_caller]
pub fn assert_sound_with_data(images: &[PathBuf], what: &str) {
    assert_none(check_data(&open(images), 2), what);
}

/// Sound, but for superblocks that were still to be written; on a device that joins, mirrors may be left of a filesystem
/// that it was in before. Returns whether some device has none of the new ones.
#[track_caller]
pub fn assert_sound_but_behind(images: &[PathBuf], what: &str) -> bool {
    assert_sound_but(&["super-stale"], images, what)
}

/// The same where superblocks may be torn, of a new device even without their magic.
#[track_caller]
pub fn assert_sound_but_torn(images: &[PathBuf], what: &str) -> bool {
    assert_sound_but(&["super-stale", "super-csum", "super-magic"], images, what)
}

/// The same where a device is lost, too: whether the parity on one that is behind is that of its rows cannot be told then.
#[track_caller]
pub fn assert_readable_after_torn_writes(images: &[PathBuf], what: &str) {
    assert_sound_but(&["super-stale", "super-csum", "super-magic", "device-stale"], images, what);
}

/// Returns whether some device is behind.
#[track_caller]
fn assert_sound_but(accepted: &[&str], images: &[PathBuf], what: &str) -> bool {
    let mut problems = check(&open(images), 2);
    let is_behind = problems.iter().any(|problem| problem.code() == "device-behind");
    problems.retain(|problem| !accepted.contains(&problem.code()));
    assert_none(problems, what);
    is_behind
}

#[track_caller]
fn assert_none(problems: Vec<Problem>, what: &str) {
    let problems = beyond_notes(problems);
    assert!(problems.is_empty(), "{what}:{}", describe(&problems));
}
