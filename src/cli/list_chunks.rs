//! `rbtrfs list-chunks`

use std::io::Write;
use std::path::PathBuf;

use clap::{ArgMatches, Args as _, FromArgMatches};

use crate::dump::chunks::ChunkList;
use crate::dump::layout::Layout;
use crate::dump::svg::Panel;

use super::color::Palette;
use super::exit::Exit;
use super::open::{Completeness, Images};
use super::watch::busy;
use super::{document, hint, output, svg, usage};

#[derive(Debug, clap::Args)]
struct Args {
    /// Print one JSON document
    #[arg(long)]
    json: bool,

    /// Print all numbers as they are, and every range of every device
    #[arg(long, conflicts_with = "json")]
    raw: bool,

    /// Draw where chunks lie, as SVG in a new file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    #[command(flatten)]
    images: Images,
}

pub fn parser() -> clap::Command {
    let command = clap::Command::new("list-chunks").about("Print where chunks lie, how full they are and what is free");
    Args::augment_args(command)
}

pub fn manual() -> String {
    include_str!("list_chunks.manual").to_owned()
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let (volume, completeness) = args.images.open(program)?;
    let list = busy("reading chunks", args.images.quiet, || ChunkList::new(&volume));
    let mut complete = completeness == Completeness::Whole;
    for (logical, problem) in list.unreadable() {
        complete = false;
        output::error(program, &format_args!("block {logical}: {problem}"));
    }
    if list.unreadable().next().is_some() {
        output::error(program, &hint::of_unreadable(&args.images.images));
    }
    if let Some(path) = &args.svg {
        let panel = Panel { caption: "", layout: &Layout::from(&list) };
        svg::save(path, &format!("Chunks of filesystem {}", list.fsid), &[panel])?;
    }
    let mut out = output::stdout()?;
    if args.json {
        document::write(out, &list)?;
    } else if args.raw {
        let mut text = Vec::new();
        list.put_text(&mut text);
        out.write_all(&text)?;
    } else {
        out.write_all(usage::text(&list, Palette::of_stdout()).as_bytes())?;
    }
    Ok(if complete { Exit::Done } else { Exit::Failed })
}
