//! `rbtrfs device`

mod add;
mod list;
mod remove;
mod replace;
mod stats;
mod which;

use clap::ArgMatches;

use super::exit::Exit;

pub fn parser() -> clap::Command {
    clap::Command::new("device")
        .about("Add, remove, replace and list devices")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([add::parser(), list::parser(), remove::parser(), replace::parser(), stats::parser()])
}

pub fn manual() -> String {
    include_str!("device.manual").to_owned()
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    match matches.subcommand() {
        Some(("add", matches)) => add::run(program, matches),
        Some(("list", matches)) => list::run(program, matches),
        Some(("remove", matches)) => remove::run(program, matches),
        Some(("replace", matches)) => replace::run(program, matches),
        Some(("stats", matches)) => stats::run(program, matches),
        _ => Ok(Exit::Usage),
    }
}
