//! What a check tells a person: what was looked at, what was found and what it means.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use crate::check::{Report, Totals};
use crate::finding::{Finding, Severity};
use crate::problem::{FileName, Harm, Problem};
use crate::volume::{Notice, Volume};

use super::super::color::{self, Palette};
use super::super::findings::write_lines;
use super::super::words::{HumanBytes, counted};
use super::advice::Step;
use super::paths::Paths;

/// How much a person wants to read.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Every problem, also where there are many of one kind.
    pub all: bool,
    /// Nothing but the problems.
    pub quiet: bool,
    /// Notes too.
    pub notes: bool,
}

fn row(palette: Palette, out: &mut impl Write, name: &str, value: &dyn Display) -> io::Result<()> {
    writeln!(out, "{} {value}", palette.paint(color::FAINT, format_args!("{name:<11}")))
}

/// The filesystem: label, uuid, devices, used of total.
pub fn write_header(volume: &Volume, palette: Palette, out: &mut impl Write) -> io::Result<()> {
    let superblock = volume.superblock();
    match superblock.label() {
        b"" => row(palette, out, "label", &"(none)")?,
        label => row(palette, out, "label", &FileName(label.to_vec()))?,
    }
    row(palette, out, "uuid", &superblock.fsid)?;
    for device in volume.devices() {
        let (size, path) = (HumanBytes(device.total_bytes()).to_string(), device.image().path().display());
        row(palette, out, &format!("device {}", device.devid()), &format_args!("{size:>11}  {path}"))?;
    }
    for devid in missing(volume) {
        let missing = palette.paint(color::ERROR, format!("{:>11}", "missing"));
        row(palette, out, &format!("device {devid}"), &missing)?;
    }
    let (used, total) = (HumanBytes(superblock.bytes_used.get()), HumanBytes(superblock.total_bytes.get()));
    row(palette, out, "used", &format_args!("{:>11} of {total}", used.to_string()))
}

/// The problems, by what they mean.
pub fn write_problems(
    volume: &Volume,
    problems: &[Problem],
    wanted: Wanted,
    palette: Palette,
    out: &mut impl Write,
) -> io::Result<()> {
    let line = |problem: &Problem| {
        let severity = palette.paint(color::of_severity(problem.severity()), problem.severity());
        format!("{severity}: {}: {problem}", problem.code())
    };
    if wanted.quiet {
        return write_lines(problems.iter().filter(|problem| problem.is_damage()), wanted.all, out, line);
    }
    let mut paths = Paths::new(volume);
    let is_wanted = |problem: &&Problem| wanted.notes || problem.is_damage();
    let mut sorted: Vec<(Harm, &Problem)> =
        problems.iter().filter(is_wanted).map(|problem| (problem.harm(), problem)).collect();
    // Problems of one meaning stay in their order.
    sorted.sort_by_key(|(harm, _)| *harm);
    for group in sorted.chunk_by(|(one, _), (other, _)| one == other) {
        let harm = group[0].0;
        writeln!(out, "\n{}", palette.paint(color::HEADING, format_args!("{}:", harm.title())))?;
        let group = group.iter().map(|(_, problem)| *problem);
        write_lines(group, wanted.all, out, |problem| with_file(line(problem), paths.of(problem), palette))?;
    }
    Ok(())
}

/// The line of a problem, and below it the file that it is of.
pub fn with_file(line: String, path: Option<FileName>, palette: Palette) -> String {
    match path {
        Some(path) => format!("{line}\n    {} {path}", palette.paint(color::FAINT, "file:")),
        None => line,
    }
}

/// What was checked, how long that took, and how much was found.
pub fn write_summary(
    report: &Report,
    time: Duration,
    wanted: Wanted,
    palette: Palette,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out)?;
    row(palette, out, "checked", &checked(&report.totals, time))?;
    let count = |severity| report.problems.iter().filter(|problem| problem.severity() == severity).count() as u64;
    let (fatal, errors, warnings, notes) =
        (count(Severity::Fatal), count(Severity::Error), count(Severity::Warning), count(Severity::Note));
    let found = fatal + errors + warnings;
    if found > 0 {
        let mut counts = Vec::new();
        if fatal > 0 {
            counts.push(format!("{fatal} fatal"));
        }
        let shown = [(errors, "error"), (warnings, "warning")].into_iter().filter(|(count, _)| *count > 0);
        counts.extend(shown.map(|(count, noun)| counted(count, noun)));
        if notes > 0 {
            let hint = if wanted.notes { "" } else { " (-v shows them)" };
            counts.push(counted(notes, "note") + hint);
        }
        row(palette, out, "found", &counts.join(", "))?;
    }
    let style = if found == 0 { color::GOOD } else { color::ERROR };
    let verdict = match found {
        0 => "no problems found".to_owned(),
        count => format!("{} found", counted(count, "problem")),
    };
    writeln!(out, "{}", palette.paint(style, verdict))
}

fn checked(totals: &Totals, time: Duration) -> String {
    let time = match time.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    };
    if totals.blocks == 0 {
        return format!("nothing but superblocks, in {time}");
    }
    let Totals { inodes, subvolumes, extents, bytes_used, blocks, data_bytes, .. } = *totals;
    let data = match data_bytes {
        0 => String::new(),
        bytes => format!(", {} of data against checksums", HumanBytes(bytes)),
    };
    let [inodes, subvolumes] = [counted(inodes, "inode"), counted(subvolumes, "subvolume")];
    let [extents, blocks] = [counted(extents, "extent"), counted(blocks, "tree block")];
    format!("{inodes} in {subvolumes}, {extents} of {}, {blocks}{data}, in {time}", HumanBytes(bytes_used))
}

fn missing(volume: &Volume) -> impl Iterator<Item = u64> {
    volume.notices().iter().filter_map(|notice| match notice {
        Notice::MissingDevice { devid, .. } => Some(*devid),
        _ => None,
    })
}

/// What the result does not tell of.
pub fn write_missing(volume: &Volume, out: &mut impl Write) -> io::Result<()> {
    let missing: Vec<String> = missing(volume).map(|devid| devid.to_string()).collect();
    let (noun, verb) = if missing.len() == 1 { ("device", "is") } else { ("devices", "are") };
    match missing.is_empty() {
        true => Ok(()),
        false => writeln!(out, "{noun} {} {verb} missing: what stands there was not verified", missing.join(", ")),
    }
}

/// What to do next.
pub fn write_steps(steps: &[Step], palette: Palette, out: &mut impl Write) -> io::Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", palette.paint(color::HEADING, "What to do next:"))?;
    for Step { text, commands } in steps {
        writeln!(out, "- {text}")?;
        for command in commands {
            writeln!(out, "    {}", palette.paint(color::COMMAND, command))?;
        }
    }
    Ok(())
}
