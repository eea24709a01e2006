//! `rbtrfs cat`

use std::io::{Seek, SeekFrom, Write};

use clap::{ArgMatches, Args as _, FromArgMatches};

use crate::Error;
use crate::files::{Content, Files};
use crate::progress::Progress;

use super::exit::Exit;
use super::files::{FileArgs, Notices};
use super::watch::{Counted, Display, watched};
use super::{output, size};

#[derive(Debug, clap::Args)]
struct Args {
    /// Print the bytes from this offset on, and no more than LENGTH of them
    #[arg(long, value_name = "OFFSET[+LENGTH]", value_parser = parse_range)]
    range: Option<Range>,

    #[command(flatten)]
    files: FileArgs,
}

/// A range of a file.
#[derive(Clone, Copy, Debug)]
struct Range {
    offset: u64,
    length: u64,
}

fn parse_range(text: &str) -> Result<Range, String> {
    let (offset, length) = match text.split_once('+') {
        Some((offset, length)) => (offset, size::parse(length)?),
        None => (text, u64::MAX),
    };
    Ok(Range { offset: size::parse(offset)?, length })
}

pub fn parser() -> clap::Command {
    let command = clap::Command::new("cat").about("Print the contents of files, without a mount");
    Args::augment_args(command).mut_arg("paths", |paths| paths.required(true))
}

pub fn manual() -> String {
    include_str!("cat.manual").to_owned()
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let out = output::stdout()?;
    let volume = args.files.open_for_some(program)?;
    let notices = Notices::new(program, args.files.images.quiet);
    let files = args.files.open(&volume, &notices)?;
    let range = args.range.unwrap_or(Range { offset: 0, length: u64::MAX });
    let progress = Progress::default();
    progress.begin("files", 0);
    let display = Display::beside_output(&out, args.files.images.quiet);
    let mut out = Counted { out, progress: &progress };
    let mut exit = Exit::Done;
    watched(display, &progress, || {
        for path in args.files.paths() {
            match print(&files, path, range, &mut out) {
                Err(Error::Output(error)) => return Err(Error::Output(error)),
                Err(error) => {
                    output::error(program, &format_args!("{}: {error}", path.escape_ascii()));
                    exit = Exit::Problems;
                }
                Ok(()) => {}
            }
        }
        Ok(())
    })?;
    Ok(exit)
}

/// Prints a range of a file, up to the first byte that cannot be read.
fn print(files: &Files<'_>, path: &[u8], range: Range, out: &mut impl Write) -> Result<(), Error> {
    const ZEROES: &[u8] = &[0; 1 << 16];
    let mut file = files.file(files.lookup(path)?)?;
    file.seek(SeekFrom::Start(range.offset)).map_err(Error::Output)?;
    let mut left = range.length;
    while left > 0
        && let Some(piece) = file.next_piece()?
    {
        let mut length = piece.length.min(left);
        left -= length;
        if let Content::Data(data) = piece.content {
            out.write_all(&data[..length as usize]).map_err(Error::Output)?;
            continue;
        }
        while length > 0 {
            let part = length.min(ZEROES.len() as u64);
            out.write_all(&ZEROES[..part as usize]).map_err(Error::Output)?;
            length -= part;
        }
    }
    Ok(())
}
