//! Options that all commands have, and what they decide before a command is known to be one.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgGroup, ValueEnum};
use serde::Serialize;

use crate::disk::Physical;
use crate::error::Error;

use super::color::When;
use super::document;

const COLOR: &str = "color";
const U64_STRINGS: &str = "json-u64-strings";
/// Options that have a command print JSON, by their ids.
const DOCUMENTS: [&str; 2] = ["json", "json_lines"];

/// Adds the options that all commands have, and that all with documents have.
pub fn with_options(parser: clap::Command) -> clap::Command {
    let color = Arg::new(COLOR)
        .long(COLOR)
        .value_name("WHEN")
        .value_parser(clap::builder::EnumValueParser::<When>::new())
        .default_value("auto")
        .hide_default_value(true)
        .global(true)
        .display_order(1000)
        .help_heading("General")
        .help("When to use colours; on terminals by default");
    with_documents(parser).arg(color)
}

fn with_documents(parser: clap::Command) -> clap::Command {
    let names: Vec<String> = parser.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let parser = names.into_iter().fold(parser, |parser, name| parser.mut_subcommand(name, with_documents));
    let has = |id: &&str| parser.get_arguments().any(|argument| argument.get_id() == *id);
    let documents: Vec<&str> = DOCUMENTS.into_iter().filter(has).collect();
    if documents.is_empty() {
        return parser;
    }
    let strings = Arg::new(U64_STRINGS)
        .long(U64_STRINGS)
        .action(ArgAction::SetTrue)
        .requires("documents")
        .display_order(1001)
        .help_heading("General")
        .help("Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does");
    parser.group(ArgGroup::new("documents").args(documents).multiple(true)).arg(strings)
}

/// What of the options matters although the rest of a command line may make no sense.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spoken {
    json: bool,
    json_lines: bool,
}

impl Spoken {
    /// Looks through the words of a command line, and decides what all of the program keeps to.
    pub fn in_words(words: &[OsString]) -> Self {
        let mut spoken = Self::default();
        let mut words = words.iter().map_while(|word| word.to_str().or(Some("")).filter(|word| *word != "--"));
        while let Some(word) = words.next() {
            match word {
                "--json" => spoken.json = true,
                "--json-lines" => spoken.json_lines = true,
                "--json-u64-strings" => document::write_integers_as_text(),
                "--color" => decide(words.next()),
                word => decide(word.strip_prefix("--color=")),
            }
        }
        spoken
    }

    /// The document of an error, where one is expected and none is on its way.
    pub fn document<'e>(
        self,
        code: &'e str,
        message: &'e str,
        hint: Option<&'e str>,
        error: Option<&'e Error>,
    ) -> Option<ErrorDocument<'e>> {
        let is_wanted = self.json_lines || (self.json && !document::is_begun());
        is_wanted.then(|| ErrorDocument {
            schema: "rbtrfs.error/1",
            error: ErrorRecord {
                code,
                message,
                hint,
                path: error.and_then(Error::path).map(|path| path.display().to_string()),
                offset: error.and_then(Error::offset),
            },
        })
    }
}

fn decide(value: Option<&str>) {
    if let Some(when) = value.and_then(|value| When::from_str(value, false).ok()) {
        when.decide();
    }
}

/// What programs read of a command that failed.
#[derive(Serialize)]
pub struct ErrorDocument<'e> {
    schema: &'static str,
    error: ErrorRecord<'e>,
}

#[derive(Serialize)]
struct ErrorRecord<'e> {
    code: &'e str,
    message: &'e str,
    hint: Option<&'e str>,
    path: Option<String>,
    offset: Option<Physical>,
}
