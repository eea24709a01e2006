//! The command line: one table of commands feeds the multiplexer, the man pages and the completions.

mod change;
mod check;
mod chunk_alloc;
mod chunk_remove;
mod completions;
mod dump_super;
mod dump_tree;
mod fsck;
mod interrupt;
mod list_chunks;
mod man;
mod mkfs;
mod open;
mod output;
mod profile;
mod qgroups;
mod size;
mod watch;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All was done, and nothing was found.
    Done,
    /// Problems were found that remain.
    Problems,
    /// The work could not be done: unreadable, not btrfs, in use.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// The change is on the disk, or may be, and something failed after that.
    Partly,
}

impl Exit {
    /// The exit code of programs that have no convention of their own.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Problems => 1,
            Exit::Failed | Exit::Usage => 2,
            Exit::Partly => 3,
        }
    }
}

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
    /// The rest of its man page: `# HEADING` lines, paragraphs, `- ` lists, and indented lines that stay as they are.
    pub manual: fn() -> String,
    /// Gets the name for its messages.
    pub run: fn(&str, &ArgMatches) -> anyhow::Result<Exit>,
    /// Its exit codes.
    pub code: fn(Exit) -> u8,
}

/// All subcommands, in the order of the help.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "check",
        program: "rbtrfs-check",
        installed: &[],
        stands_for: &[],
        parser: check::parser,
        manual: check::manual,
        run: check::run,
        code: Exit::code,
    },
    Command {
        name: "dump-tree",
        program: "rbtrfs-dump-tree",
        installed: &["rbtrfs-dump-tree"],
        stands_for: &[],
        parser: dump_tree::parser,
        manual: dump_tree::manual,
        run: dump_tree::run,
        code: Exit::code,
    },
    Command {
        name: "dump-super",
        program: "rbtrfs-dump-super",
        installed: &[],
        stands_for: &[],
        parser: dump_super::parser,
        manual: dump_super::manual,
        run: dump_super::run,
        code: Exit::code,
    },
    Command {
        name: "list-chunks",
        program: "rbtrfs-list-chunks",
        installed: &[],
        stands_for: &[],
        parser: list_chunks::parser,
        manual: list_chunks::manual,
        run: list_chunks::run,
        code: Exit::code,
    },
    Command {
        name: "chunk-alloc",
        program: "rbtrfs-chunk-alloc",
        installed: &["rbtrfs-chunk-alloc"],
        stands_for: &[],
        parser: chunk_alloc::parser,
        manual: chunk_alloc::manual,
        run: chunk_alloc::run,
        code: Exit::code,
    },
    Command {
        name: "chunk-remove",
        program: "rbtrfs-chunk-remove",
        installed: &["rbtrfs-chunk-remove"],
        stands_for: &[],
        parser: chunk_remove::parser,
        manual: chunk_remove::manual,
        run: chunk_remove::run,
        code: Exit::code,
    },
    Command {
        name: "mkfs",
        program: "rbtrfs-mkfs",
        installed: &["rbtrfs-mkfs", "mkfs.rbtrfs"],
        stands_for: &["mkfs.btrfs"],
        parser: mkfs::parser,
        manual: mkfs::manual,
        run: mkfs::run,
        code: Exit::code,
    },
    Command {
        name: "completions",
        program: "rbtrfs-completions",
        installed: &[],
        stands_for: &[],
        parser: completions::parser,
        manual: String::new,
        run: completions::run,
        code: Exit::code,
    },
    Command {
        name: "fsck",
        program: "rbtrfs-fsck",
        installed: &["rbtrfs-fsck", "fsck.rbtrfs"],
        stands_for: &["fsck.btrfs"],
        parser: fsck::parser,
        manual: fsck::manual,
        run: fsck::run,
        code: fsck::code,
    },
    Command {
        name: "man",
        program: "rbtrfs-man",
        installed: &[],
        stands_for: &[],
        parser: man::parser,
        manual: String::new,
        run: man::run,
        code: Exit::code,
    },
];

/// The program that has all commands.
const MULTIPLEXER: &str = "rbtrfs";

/// The version of btrfs-progs whose options and texts are taken over, and that of this program.
const AS_BTRFS_PROGS: &str = concat!("v6.19 (rbtrfs ", env!("CARGO_PKG_VERSION"), ")");

const ABOUT: &str = "The offline btrfs toolkit: works on filesystems that are not mounted";

impl Command {
    /// What it calls itself as a subcommand.
    fn name_of_subcommand(&self) -> String {
        format!("{MULTIPLEXER} {}", self.name)
    }

    fn is_called(&self, program: &str) -> bool {
        self.program == program || self.installed.contains(&program) || self.stands_for.contains(&program)
    }

    /// The parser for a program of this name that is the command alone.
    fn parser_of(&self, program: &str) -> clap::Command {
        let parser = (self.parser)().name(self.program).bin_name(program);
        match self.stands_for.contains(&program) {
            // Scripts take the fifth word for the version.
            true => parser.display_name(format!("{program}, part of btrfs-progs")).version(AS_BTRFS_PROGS),
            false => parser.display_name(program).version(env!("CARGO_PKG_VERSION")),
        }
    }
}

/// The parser of `rbtrfs` with all its subcommands.
fn multiplexer() -> clap::Command {
    clap::Command::new(MULTIPLEXER)
        .about(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .propagate_version(true)
        .subcommands(COMMANDS.iter().map(|command| (command.parser)().display_name(command.name_of_subcommand())))
}

/// What the program is called, and its arguments.
fn called() -> (String, impl Iterator<Item = OsString>) {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    (program, arguments)
}

/// Runs the program. What it is called decides what it is: a command, or the multiplexer of all.
pub fn main() -> ExitCode {
    let (program, arguments) = called();
    match COMMANDS.iter().find(|command| command.is_called(&program)) {
        Some(command) => run_command(command, &program, arguments),
        None => run_multiplexer(arguments),
    }
}

/// Runs the program that is the command `name` alone, whatever it is called.
pub fn main_of(name: &str) -> ExitCode {
    let (program, arguments) = called();
    match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) if command.is_called(&program) => run_command(command, &program, arguments),
        Some(command) => run_command(command, command.program, arguments),
        None => {
            output::error(MULTIPLEXER, &format_args!("{name} is not part of this version"));
            ExitCode::from(Exit::Failed.code())
        }
    }
}

fn run_command(command: &Command, program: &str, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let exit = match parse(command.parser_of(program), program, arguments) {
        Ok(matches) => run(command, program, &matches),
        Err(exit) => exit,
    };
    ExitCode::from((command.code)(exit))
}

fn run_multiplexer(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let matches = match parse(multiplexer(), MULTIPLEXER, arguments) {
        Ok(matches) => matches,
        Err(exit) => return ExitCode::from(exit.code()),
    };
    let chosen = matches.subcommand().and_then(|(name, matches)| {
        let command = COMMANDS.iter().find(|command| command.name == name)?;
        Some((command.code)(run(command, &command.name_of_subcommand(), matches)))
    });
    ExitCode::from(chosen.unwrap_or(Exit::Usage.code()))
}

fn parse(parser: clap::Command, program: &str, arguments: impl Iterator<Item = OsString>) -> Result<ArgMatches, Exit> {
    parser.try_get_matches_from(std::iter::once(program.into()).chain(arguments)).map_err(|error| {
        if error.use_stderr() {
            let _ = error.print();
            return Exit::Usage;
        }
        // Help and versions are what was asked for.
        let printed = output::stdout().and_then(|_| error.print()).and_then(|()| std::io::stdout().flush());
        match printed.map_err(|error| crate::Error::Output(error).into()) {
            Ok(()) => Exit::Done,
            Err(error) => failed(program, &error),
        }
    })
}

fn run(command: &Command, program: &str, matches: &ArgMatches) -> Exit {
    interrupt::fail_at_file_size_limit();
    match (command.run)(program, matches) {
        Ok(exit) => exit,
        Err(error) => failed(program, &error),
    }
}

/// Says why a command failed. A reader that has seen enough is no failure.
fn failed(program: &str, error: &anyhow::Error) -> Exit {
    if output::is_closed_pipe(error) {
        return Exit::Done;
    }
    output::error(program, error);
    if output::is_after_change(error) { Exit::Partly } else { Exit::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_that_scripts_know() {
        let all = [Exit::Done, Exit::Problems, Exit::Failed, Exit::Usage, Exit::Partly];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 2, 3]);
        assert_eq!(all.map(fsck::code), [0, 4, 8, 16, 8]);
    }

    #[test]
    fn no_command_line_is_ambiguous() {
        multiplexer().debug_assert();
        for command in COMMANDS {
            assert_eq!((command.parser)().get_name(), command.name);
            command.parser_of(command.program).debug_assert();
        }
    }
}
