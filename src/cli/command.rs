//! What a command is, and how it is called.

use clap::ArgMatches;

use super::exit::Exit;
use super::global::with_options;

/// A subcommand of `rbtrfs`.
pub struct Command {
    /// Its name behind `rbtrfs`.
    pub name: &'static str,
    /// The program that is this command alone.
    pub program: &'static str,
    /// Names under which `rbtrfs` is installed as this command.
    pub installed: &'static [&'static str],
    /// Names of the system's programs: what is linked under one of them is this command, and none is installed.
    pub stands_for: &'static [&'static str],
    /// Its options and operands.
    pub parser: fn() -> clap::Command,
    /// Its man page but for the options, as `man::source` reads it.
    pub manual: fn() -> String,
    /// Gets the name for its messages.
    pub run: fn(&str, &ArgMatches) -> anyhow::Result<Exit>,
    /// Its exit codes.
    pub code: fn(Exit) -> u8,
}

/// The program that has all commands.
pub const MULTIPLEXER: &str = "rbtrfs";

/// The version of btrfs-progs that gave the options and texts, and the version of this program.
const AS_BTRFS_PROGS: &str = concat!("v6.19 (rbtrfs ", env!("CARGO_PKG_VERSION"), ")");

const ABOUT: &str = "The offline btrfs toolkit: works on filesystems that are not mounted";

impl Command {
    /// What it calls itself as a subcommand.
    pub fn name_of_subcommand(&self) -> String {
        format!("{MULTIPLEXER} {}", self.name)
    }

    /// Whether a program of this name is the command.
    pub fn is_called(&self, program: &str) -> bool {
        self.program == program || self.installed.contains(&program) || self.stands_for.contains(&program)
    }

    /// The parser for a program of this name that is the command alone.
    pub fn parser_of(&self, program: &str) -> clap::Command {
        let parser = with_options((self.parser)()).name(self.program).bin_name(program);
        match self.stands_for.contains(&program) {
            // Scripts take the fifth word for the version.
            true => parser.display_name(format!("{program}, part of btrfs-progs")).version(AS_BTRFS_PROGS),
            false => parser.display_name(program).version(env!("CARGO_PKG_VERSION")),
        }
    }
}

/// The parser of `rbtrfs` with all its subcommands.
pub fn multiplexer(commands: &[Command]) -> clap::Command {
    let multiplexer = clap::Command::new(MULTIPLEXER)
        .about(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .propagate_version(true)
        .subcommands(commands.iter().map(|command| (command.parser)().display_name(command.name_of_subcommand())));
    with_options(multiplexer)
}
