//! `rbtrfs man`

mod page;
mod problems;
mod source;

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{ArgMatches, Args as _, FromArgMatches};

use super::command::{Command, MULTIPLEXER, multiplexer};
use super::exit::Exit;
use page::{Page, SECTION};
use source::Manual;

#[derive(Debug, clap::Args)]
struct Args {
    /// An existing directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("man").about("Write the man pages into a directory"))
}

pub fn manual() -> String {
    include_str!("man.manual").to_owned()
}

pub fn run(_program: &str, matches: &ArgMatches, commands: &[Command]) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    for (name, page) in rendered(commands)? {
        let path = args.directory.join(name);
        std::fs::write(&path, page).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    }
    Ok(Exit::Done)
}

/// File names and contents of all pages.
fn rendered(commands: &[Command]) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut all = vec![(format!("{}.{}", problems::NAME, problems::SECTION), problems::page()?)];
    for page in pages(commands) {
        all.push((format!("{}.{SECTION}", page.name()), page.render()?));
    }
    Ok(all)
}

/// The pages of all commands, of their subcommands and of the names that they are installed by.
fn pages(commands: &[Command]) -> Vec<Page> {
    let mut pages = vec![Page::new(multiplexer(commands), Manual::of(include_str!("rbtrfs.manual")))];
    for command in commands {
        let text = (command.manual)();
        let mut manuals = Manual::split(&text);
        let mut parser = command.parser_of(command.program);
        parser.build();
        for below in parser.get_subcommands().filter(|below| below.get_name() != "help") {
            pages.push(Page::new(below.clone(), manuals.remove(below.get_name()).unwrap_or_default()));
        }
        pages.push(Page::new(command.parser_of(command.program), manuals.remove("").unwrap_or_default()));
        // What is installed under a name that is not the program's is looked up by that name, too.
        for name in command.installed.iter().filter(|name| **name != command.program) {
            let text = text.replace(&format!("{MULTIPLEXER} {} ", command.name), &format!("{name} "));
            pages.push(Page::new(command.parser_of(name), Manual::of(&text)));
        }
    }
    pages
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::COMMANDS;

    #[test]
    fn man_pages_are_those_of_the_command_table() {
        let directory = format!("{}/man", env!("CARGO_MANIFEST_DIR"));
        let pages = rendered(COMMANDS).unwrap();
        for (name, page) in &pages {
            let stored = std::fs::read(format!("{directory}/{name}")).unwrap_or_default();
            assert!(stored == *page, "{name}: renew with scripts/render");
        }
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), pages.len(), "a page of no command is left over");
    }

    #[test]
    fn no_page_lacks_what_a_person_looks_for() {
        for page in pages(COMMANDS) {
            let headings: Vec<&str> = page.headings().collect();
            for heading in ["SYNOPSIS", "DESCRIPTION", "EXAMPLES", "EXIT STATUS", "SEE ALSO"] {
                assert_eq!(headings.iter().filter(|name| **name == heading).count(), 1, "{}: {heading}", page.name());
            }
            let last = ["EXAMPLES", "EXIT STATUS", "FILES", "ENVIRONMENT", "SEE ALSO"];
            let order: Vec<usize> =
                headings.iter().filter_map(|name| last.iter().position(|last| last == name)).collect();
            assert!(order.is_sorted() && headings.ends_with(&["SEE ALSO"]), "{}: {headings:?}", page.name());
        }
    }

    #[test]
    fn a_synopsis_names_options_that_there_are_and_no_summary_of_them() {
        for page in pages(COMMANDS) {
            let synopsis = page.text_of("SYNOPSIS");
            assert!(
                synopsis.starts_with("  rbtrfs") || page.name().ends_with(".rbtrfs"),
                "{}: {synopsis}",
                page.name()
            );
            assert!(!synopsis.contains("[OPTIONS]"), "{}", page.name());
            let known = page.options();
            for word in
                synopsis.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| word.starts_with('-'))
            {
                let is_known =
                    known.contains(word) || (!word.starts_with("--") && known.contains(word.get(..2).unwrap_or(word)));
                // Sizes and file names may begin so, too.
                let is_value = word == "--" || word == "-" || word == "-SIZE";
                assert!(is_known || is_value, "{}: {word}", page.name());
            }
            let long: Vec<&str> = synopsis.lines().filter(|line| line.chars().count() > 74).collect();
            assert!(long.is_empty(), "{}: {long:?}", page.name());
        }
    }

    #[test]
    fn a_page_that_another_one_names_exists() {
        let rendered = rendered(COMMANDS).unwrap();
        let names: BTreeSet<String> = rendered.iter().map(|(name, _)| name.clone()).collect();
        for (name, page) in &rendered {
            let text = String::from_utf8(page.clone()).unwrap().replace("\\-", "-");
            for (at, _) in text.match_indices("rbtrfs") {
                let start =
                    text[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c)).map_or(0, |at| at + 1);
                let Some((word, rest)) = text[start..].split_once('(') else { continue };
                let is_name = word.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
                if let (true, Some(section)) = (is_name, rest.chars().next().filter(char::is_ascii_digit)) {
                    assert!(names.contains(&format!("{word}.{section}")), "{name}: {word}({section})");
                }
            }
        }
    }
}
