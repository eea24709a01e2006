//! `rbtrfs completions`

use std::io::Write;

use anyhow::bail;
use clap::{ArgMatches, Args as _, FromArgMatches};
use clap_complete::Shell;

use super::command::{Command, MULTIPLEXER, multiplexer};
use super::exit::Exit;
use super::output;

#[derive(Debug, clap::Args)]
struct Args {
    /// The shell to complete for
    shell: Shell,

    /// The name that is completed: "rbtrfs", or what it is installed or linked as
    #[arg(value_name = "PROGRAM", default_value = MULTIPLEXER)]
    program: String,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("completions").about("Print a completion script for a shell"))
}

pub fn manual() -> String {
    include_str!("completions.manual").to_owned()
}

pub fn run(_program: &str, matches: &ArgMatches, commands: &[Command]) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let Some(mut parser) = parser_of(&args.program, commands) else {
        bail!("{} is no name of this program", args.program)
    };
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut parser, args.program, &mut script);
    output::stdout()?.write_all(&script)?;
    Ok(Exit::Done)
}

/// What a program of this name takes.
fn parser_of(program: &str, commands: &[Command]) -> Option<clap::Command> {
    if program == MULTIPLEXER {
        return Some(multiplexer(commands));
    }
    commands.iter().find(|command| command.is_called(program)).map(|command| command.parser_of(program))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap_complete::{Generator, Shell};

    use super::MULTIPLEXER;
    use crate::cli::COMMANDS;

    #[test]
    fn completions_are_those_of_the_command_table() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/completions");
        let mut names = BTreeSet::new();
        for program in COMMANDS.iter().flat_map(|command| command.installed).chain([&MULTIPLEXER]) {
            for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
                let name = shell.file_name(program);
                let stored = std::fs::read(format!("{directory}/{name}")).unwrap_or_default();
                let mut script = Vec::new();
                clap_complete::generate(
                    shell,
                    &mut super::parser_of(program, COMMANDS).unwrap(),
                    *program,
                    &mut script,
                );
                assert!(stored == script, "{name}: renew with scripts/render");
                names.insert(name);
            }
        }
        let stored = std::fs::read_dir(directory).unwrap();
        let stored: BTreeSet<String> = stored.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(stored, names);
    }
}
