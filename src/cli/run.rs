//! Running a command, by the name of the program or by the first argument.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;

use super::command::{Command, MULTIPLEXER, multiplexer};
use super::exit::Exit;
use super::global::Spoken;
use super::table::COMMANDS;
use super::{document, hint, interrupt, output};

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
    let words: Vec<OsString> = arguments.collect();
    let spoken = Spoken::in_words(&words);
    let exit = match parse(command.parser_of(program), program, words, spoken) {
        Ok(matches) => run(command, program, &matches, spoken),
        Err(exit) => exit,
    };
    ExitCode::from((command.code)(exit))
}

fn run_multiplexer(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = arguments.collect();
    let spoken = Spoken::in_words(&words);
    let matches = match parse(multiplexer(COMMANDS), MULTIPLEXER, words, spoken) {
        Ok(matches) => matches,
        Err(exit) => return ExitCode::from(exit.code()),
    };
    let chosen = matches.subcommand().and_then(|(name, matches)| {
        let command = COMMANDS.iter().find(|command| command.name == name)?;
        Some((command.code)(run(command, &command.name_of_subcommand(), matches, spoken)))
    });
    ExitCode::from(chosen.unwrap_or(Exit::Usage.code()))
}

fn parse(parser: clap::Command, program: &str, words: Vec<OsString>, spoken: Spoken) -> Result<ArgMatches, Exit> {
    let letters = words.first().and_then(|word| parser.find_subcommand(word)).map_or_else(|| letters(&parser), letters);
    let words = words.into_iter().map(|word| with_equals(word, &letters));
    parser.try_get_matches_from(std::iter::once(program.into()).chain(words)).map_err(|error| {
        if error.use_stderr() {
            let _ = error.print();
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            write_error(spoken, "usage", first.strip_prefix("error: ").unwrap_or(first), None, None);
            return Exit::Usage;
        }
        // Help and versions are what was asked for.
        let printed = output::stdout().and_then(|_| error.print()).and_then(|()| std::io::stdout().flush());
        match printed.map_err(|error| crate::Error::Output(error).into()) {
            Ok(()) => Exit::Done,
            Err(error) => failed(program, &error, None, spoken),
        }
    })
}

/// The letters of options whose values the caller may leave out.
fn letters(parser: &clap::Command) -> Vec<char> {
    let may_lack_value = |argument: &&clap::Arg| {
        argument.is_require_equals_set() && argument.get_num_args().is_some_and(|count| count.min_values() == 0)
    };
    parser.get_arguments().filter(may_lack_value).filter_map(clap::Arg::get_short).collect()
}

/// The word as the parser takes it: what stands right behind such a letter, as getopt(3) has it, gets an equals sign before it.
fn with_equals(word: OsString, letters: &[char]) -> OsString {
    let mut chars = word.to_str().unwrap_or_default().chars();
    match (chars.next(), chars.next(), chars.as_str()) {
        (Some('-'), Some(letter), value)
            if letters.contains(&letter) && !value.is_empty() && !value.starts_with('=') =>
        {
            format!("-{letter}={value}").into()
        }
        _ => word,
    }
}

fn run(command: &Command, program: &str, matches: &ArgMatches, spoken: Spoken) -> Exit {
    interrupt::fail_at_file_size_limit();
    match (command.run)(program, matches) {
        Ok(exit) => exit,
        Err(error) => failed(program, &error, hint::of_error(command.name, matches, &error), spoken),
    }
}

/// Says why a command failed, and what helps. A reader that has seen enough is no failure.
fn failed(program: &str, error: &anyhow::Error, hint: Option<String>, spoken: Spoken) -> Exit {
    if output::is_closed_pipe(error) {
        return Exit::Done;
    }
    match &hint {
        Some(hint) => output::error(program, &format_args!("{error}; {hint}")),
        None => output::error(program, error),
    }
    write_error(spoken, output::code_of(error), &error.to_string(), hint.as_deref(), error.downcast_ref());
    if output::is_after_change(error) { Exit::Partly } else { Exit::Failed }
}

/// Writes the document of an error, where programs expect one. That it cannot be written changes nothing: the error is told.
fn write_error(spoken: Spoken, code: &str, message: &str, hint: Option<&str>, error: Option<&crate::Error>) {
    if let Some(document) = spoken.document(code, message, hint, error) {
        let _ = output::stdout().map(|out| document::write(out, &document));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fsck;

    #[test]
    fn exit_codes_are_those_that_scripts_know() {
        let all = [Exit::Done, Exit::Problems, Exit::Failed, Exit::Usage, Exit::Partly];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 2, 3]);
        assert_eq!(all.map(fsck::code), [0, 4, 8, 16, 8]);
    }

    #[test]
    fn no_command_line_is_ambiguous() {
        multiplexer(COMMANDS).debug_assert();
        for command in COMMANDS {
            assert_eq!((command.parser)().get_name(), command.name);
            command.parser_of(command.program).debug_assert();
        }
    }
}
