//! `rbtrfs man`

use std::path::PathBuf;

use anyhow::Context;
use clap::{ArgMatches, Args as _, FromArgMatches};

use super::{COMMANDS, Exit, multiplexer};

#[derive(Debug, clap::Args)]
struct Args {
    /// An existing directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("man").about("Write the man pages into a directory"))
}

pub fn run(_program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    for (name, page) in pages()? {
        let path = args.directory.join(name);
        std::fs::write(&path, page).with_context(|| path.display().to_string())?;
    }
    Ok(Exit::Done)
}

/// File names and contents of all pages.
fn pages() -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let programs = COMMANDS.iter().map(|command| command.program_parser());
    std::iter::once(multiplexer())
        .chain(programs)
        .map(|parser| {
            let name = format!("{}.1", parser.get_name());
            let mut page = Vec::new();
            clap_mangen::Man::new(parser).render(&mut page)?;
            Ok((name, page))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn man_pages_are_those_of_the_command_table() {
        let directory = format!("{}/man", env!("CARGO_MANIFEST_DIR"));
        let pages = super::pages().unwrap();
        for (name, page) in &pages {
            let stored = std::fs::read(format!("{directory}/{name}")).unwrap_or_default();
            assert!(stored == *page, "{name}: renew with scripts/render");
        }
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), pages.len(), "a page of no command is left over");
    }
}
