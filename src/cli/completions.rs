//! `rbtrfs completions`

use std::io::Write;

use clap::{ArgMatches, Args as _, FromArgMatches};
use clap_complete::Shell;

use super::{Exit, multiplexer, output};

#[derive(Debug, clap::Args)]
struct Args {
    /// The shell to complete for
    shell: Shell,
}

pub fn parser() -> clap::Command {
    Args::augment_args(clap::Command::new("completions").about("Print a completion script for a shell"))
}

pub fn run(_program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    output::stdout()?.write_all(&script(args.shell))?;
    Ok(Exit::Done)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut multiplexer(), "rbtrfs", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use clap_complete::{Generator, Shell};

    #[test]
    fn completions_are_those_of_the_command_table() {
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            let name = shell.file_name("rbtrfs");
            let stored =
                std::fs::read(format!("{}/completions/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap_or_default();
            assert!(stored == super::script(shell), "{name}: renew with scripts/render");
        }
    }
}
