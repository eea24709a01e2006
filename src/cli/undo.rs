//! `rbtrfs undo`

use std::io::Write;
use std::path::PathBuf;

use clap::{ArgMatches, Args as _, FromArgMatches};
use serde::Serialize;

use crate::disk::fields::Uuid;
use crate::progress::Progress;
use crate::repair::{PutBack, UndoOptions, undo};

use super::exit::Exit;
use super::watch::{Display, watched};
use super::{document, interrupt, output};

#[derive(Debug, clap::Args)]
struct Args {
    /// Save what is overwritten in a new file, with which the undo can be undone
    #[arg(long, value_name = "FILE")]
    redo: Option<PathBuf>,

    /// Verify the file and the images, say what would be put back, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,

    /// The undo file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Images or block devices that it is for, in any order
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("undo").about("Put images back as they were before a repair"))
}

pub fn manual() -> String {
    include_str!("undo.manual").to_owned()
}

pub fn run(_program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let progress = Progress::new(interrupt::flag()?);
    let options = UndoOptions { redo: args.redo.as_deref(), dry_run: args.dry_run, progress: &progress };
    let display = Display::choose(false, args.quiet);
    let put_back = watched(display, &progress, || undo(&args.file, &args.images, &options))?;
    let told = args.tell(&put_back);
    // What is the same as before has nothing to undo.
    match args.dry_run || put_back.iter().all(|device| device.ranges == 0) {
        true => told?,
        false => output::after_change(told)?,
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    dry_run: bool,
    devices: Vec<DeviceRecord>,
}

#[derive(Serialize)]
struct DeviceRecord {
    devid: u64,
    uuid: Uuid,
    ranges: u64,
    bytes: u64,
    unreadable: u64,
}

impl Args {
    fn text(&self, put_back: &[PutBack]) -> String {
        let verb = if self.dry_run { "would put back" } else { "put back" };
        let line = |device: &PutBack| {
            let PutBack { devid, uuid, ranges, bytes, .. } = device;
            format!("{verb} device {devid} ({uuid}): {ranges} ranges, {bytes} bytes\n")
        };
        let rest = |device: &PutBack| {
            let PutBack { devid, unreadable, .. } = device;
            format!("device {devid}: {unreadable} bytes stay, what stood there before the repair could not be read\n")
        };
        let mut text: String = put_back.iter().filter(|device| device.ranges > 0).map(line).collect();
        if text.is_empty() {
            text = "nothing to put back: the images are as they were\n".to_owned();
        }
        text.extend(put_back.iter().filter(|device| device.unreadable > 0).map(rest));
        text
    }

    fn tell(&self, put_back: &[PutBack]) -> anyhow::Result<()> {
        let mut out = output::stdout()?;
        if self.json {
            let record = |device: &PutBack| {
                let PutBack { devid, uuid, ranges, bytes, unreadable } = *device;
                DeviceRecord { devid, uuid, ranges, bytes, unreadable }
            };
            let devices = put_back.iter().map(record).collect();
            document::write(&mut out, &Document { schema: "rbtrfs.undo/1", dry_run: self.dry_run, devices })?;
        } else if !self.quiet {
            out.write_all(self.text(put_back).as_bytes())?;
        }
        Ok(())
    }
}
