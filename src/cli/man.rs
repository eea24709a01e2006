//! `rbtrfs man`

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{ArgMatches, Args as _, FromArgMatches};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::command::{Command, multiplexer};
use super::exit::Exit;

#[derive(Debug, clap::Args)]
struct Args {
    /// An existing directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("man").about("Write the man pages into a directory"))
}

pub fn run(_program: &str, matches: &ArgMatches, commands: &[Command]) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    for (name, page) in pages(commands)? {
        let path = args.directory.join(name);
        std::fs::write(&path, page).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    }
    Ok(Exit::Done)
}

/// File names and contents of all pages.
fn pages(commands: &[Command]) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let programs = commands.iter().flat_map(|command| {
        let mut parser = command.parser_of(command.program);
        parser.build();
        // Each subcommand of a command has a page of its own.
        let below: Vec<_> = parser.get_subcommands().filter(|below| below.get_name() != "help").cloned().collect();
        let of_command = (command.parser_of(command.program), (command.manual)());
        std::iter::once(of_command).chain(below.into_iter().map(|parser| (parser, String::new())))
    });
    std::iter::once((multiplexer(commands), String::new()))
        .chain(programs)
        .map(|(parser, manual)| {
            let name = format!("{}.1", parser.get_display_name().unwrap_or(parser.get_name()));
            let has_subcommands = parser.has_subcommands();
            let man = Man::new(parser);
            let mut page = Vec::new();
            man.render_title(&mut page)?;
            man.render_name_section(&mut page)?;
            man.render_synopsis_section(&mut page)?;
            man.render_description_section(&mut page)?;
            man.render_options_section(&mut page)?;
            if has_subcommands {
                man.render_subcommands_section(&mut page)?;
            }
            manual_sections(&manual).to_writer(&mut page)?;
            Ok((name, page))
        })
        .collect()
}

/// The text of [`Command::manual`] as roff.
fn manual_sections(manual: &str) -> Roff {
    let mut roff = Roff::default();
    let mut verbatim = false;
    for line in manual.lines() {
        let indented = line.starts_with("  ");
        if indented != verbatim {
            roff.control(if indented { "nf" } else { "fi" }, []);
            verbatim = indented;
        }
        if let Some(heading) = line.strip_prefix("# ") {
            roff.control("SH", [heading]);
        } else if let Some(point) = line.strip_prefix("- ") {
            roff.control("IP", ["\\(bu", "2"]).text([roman(point)]);
        } else if line.is_empty() {
            roff.control("PP", []);
        } else {
            roff.text([roman(line)]);
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    #[test]
    fn man_pages_are_those_of_the_command_table() {
        let directory = format!("{}/man", env!("CARGO_MANIFEST_DIR"));
        let pages = super::pages(crate::cli::COMMANDS).unwrap();
        for (name, page) in &pages {
            let stored = std::fs::read(format!("{directory}/{name}")).unwrap_or_default();
            assert!(stored == *page, "{name}: renew with scripts/render");
        }
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), pages.len(), "a page of no command is left over");
    }
}
