//! Comparison with `btrfs inspect-internal dump-tree` of the installed btrfs-progs, in the form of version 6.2.

use std::path::Path;
use std::process::Command;

use rbtrfs::dump::put::{Escaped, Put};

/// The lines that both should print, of the dumps of both: ours, then theirs.
pub fn dumps(image: &Path) -> (Vec<String>, Vec<String>) {
    let ours = Command::new(env!("CARGO_BIN_EXE_rbtrfs")).arg("dump-tree").arg(image).output().expect("rbtrfs runs");
    let theirs = Command::new("btrfs").args(["inspect-internal", "dump-tree", "--noscan"]).arg(image).output();
    let (ours, theirs) = (ours.stdout, theirs.expect("btrfs runs").stdout);
    // The first line names the program.
    let lines = |dump: Vec<u8>, line: fn(&[u8]) -> String| {
        let dump = dump.strip_suffix(b"\n").unwrap_or(&dump);
        dump.split(|byte| *byte == b'\n').skip(1).filter_map(without_encryption).map(line).collect()
    };
    (lines(ours, as_in_6_2), lines(theirs, if escapes_names() { as_in_6_2 } else { escaped }))
}

/// Major and minor number of the installed btrfs-progs.
fn version() -> Option<(u32, u32)> {
    let output = Command::new("btrfs").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.lines().next()?.split(" v").nth(1)?.split(['.', '-', ' ']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether there is a btrfs-progs whose output is known.
pub fn is_installed() -> bool {
    version().is_some_and(|version| version >= (6, 2))
}

/// Whether the installed btrfs-progs prints names and values with escapes, as we do.
pub fn escapes_names() -> bool {
    version().is_some_and(|version| version >= (6, 10))
}

/// A line of a dump without what versions after 6.19 say of encryption; nothing where that is all of it.
pub fn without_encryption(line: &[u8]) -> Option<&[u8]> {
    match line.trim_ascii_start().starts_with(b"extent encryption ") {
        true => None,
        false => Some(line.strip_suffix(b" encryption 0").unwrap_or(line)),
    }
}

/// Inline references without their type and sequence, and values up to the first zero byte: more 6.2 does not print.
fn as_in_6_2(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line).into_owned();
    match line.trim_start_matches('\t').strip_prefix('(').and_then(|rest| rest.split_once(") ")) {
        Some((_, reference)) => format!("\t\t{reference}"),
        None if line.starts_with("\t\tdata ") => line.split("\\000").next().unwrap_or_default().to_owned(),
        None => line,
    }
}

/// With the escapes for names and values that 6.2 does not know.
fn escaped(line: &[u8]) -> String {
    let end_of = |label: &[u8]| {
        let position = line.windows(label.len()).position(|window| window == label)?;
        Some(position + label.len())
    };
    let labels: [&[u8]; 3] = [b"name: ", b"\t\tdata ", b" name "];
    let start = labels.into_iter().find_map(end_of).unwrap_or(line.len());
    let mut escaped = line[..start].to_vec();
    Escaped(&line[start..]).put(&mut escaped);
    String::from_utf8_lossy(&escaped).into_owned()
}

/// Fails at the first line that differs.
#[track_caller]
pub fn assert_same_lines(image: &Path) {
    let (ours, theirs) = dumps(image);
    for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        // Times that no calendar has; btrfs-progs makes one up.
        let is_odd_time = ours.strip_suffix("out of range)").is_some_and(|start| theirs.starts_with(start));
        assert!(is_odd_time || ours == theirs, "line {} of {}:\n{ours}\n{theirs}", index + 2, image.display());
    }
    assert_eq!(ours.len(), theirs.len(), "lines of the dump of {}", image.display());
}
