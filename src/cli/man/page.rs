//! One man page as roff.

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::source::Manual;

/// The section of programs that administrators run.
pub const SECTION: &str = "8";

/// What is printed at the foot of each page.
pub const SOURCE: &str = concat!("rbtrfs ", env!("CARGO_PKG_VERSION"));

/// The page of a command.
pub struct Page {
    parser: clap::Command,
    manual: Manual,
}

impl Page {
    pub fn new(parser: clap::Command, manual: Manual) -> Self {
        // What clap adds of itself has no page.
        let mut parser = parser.disable_help_subcommand(true);
        parser.build();
        Self { parser, manual }
    }

    pub fn name(&self) -> &str {
        self.parser.get_display_name().unwrap_or(self.parser.get_name())
    }

    pub fn render(&self) -> anyhow::Result<Vec<u8>> {
        let mut page = title(self.name(), SECTION);
        page.control("SH", ["NAME"]);
        let about = self.parser.get_about().map(ToString::to_string).unwrap_or_default();
        page.text([roman(format!("{} - {about}", self.name()))]);
        let mut out = Vec::new();
        let mut options = Some(Man::new(self.parser.clone()).section(SECTION));
        for (heading, text) in self.manual.sections() {
            page.control("SH", [heading]);
            match heading {
                "SYNOPSIS" => synopsis(text, &mut page),
                _ => text_of(text, &mut page),
            }
            if heading == "DESCRIPTION"
                && let Some(man) = options.take()
            {
                std::mem::take(&mut page).to_writer(&mut out)?;
                man.render_options_section(&mut out)?;
                if self.parser.has_subcommands() {
                    man.render_subcommands_section(&mut out)?;
                }
            }
        }
        page.to_writer(&mut out)?;
        Ok(out)
    }
}

#[cfg(test)]
impl Page {
    pub fn headings(&self) -> impl Iterator<Item = &str> {
        self.manual.sections().map(|(heading, _)| heading)
    }

    pub fn text_of(&self, heading: &str) -> &str {
        self.manual.sections().find(|(other, _)| *other == heading).map_or("", |(_, text)| text)
    }

    /// Letters and long names of all options, those of subcommands too.
    pub fn options(&self) -> std::collections::BTreeSet<String> {
        let of = |argument: &clap::Arg| {
            let short = argument.get_short_and_visible_aliases().unwrap_or_default();
            let long = argument.get_long().map(|long| format!("--{long}"));
            short.into_iter().map(|letter| format!("-{letter}")).chain(long).collect::<Vec<_>>()
        };
        let below = self.parser.get_subcommands().flat_map(clap::Command::get_arguments);
        self.parser.get_arguments().chain(below).flat_map(of).collect()
    }
}

/// The begin of a page.
pub fn title(name: &str, section: &str) -> Roff {
    let mut roff = Roff::default();
    // A page has no date; without a word in its place the next ones would move up.
    roff.control("TH", [name, section, " ", SOURCE, "rbtrfs"]);
    roff
}

/// Lines as they are, with placeholders in italics and all other words as they are typed in bold.
fn synopsis(text: &str, roff: &mut Roff) {
    roff.control("nf", []);
    for line in text.lines() {
        let line = line.strip_prefix("  ").unwrap_or(line);
        let mut parts = Vec::new();
        for word in line.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c)) {
            let end = word.find(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c)).unwrap_or(word.len());
            let (word, rest) = word.split_at(end);
            let is_placeholder = word.starts_with(|c: char| c.is_ascii_uppercase()) && word.len() > 1 || word == "N";
            parts.push(match word {
                "" | "..." => roman(word),
                _ if is_placeholder => italic(word),
                _ => bold(word),
            });
            parts.push(roman(rest));
        }
        roff.text(parts);
    }
    roff.control("fi", []);
}

/// A section's text.
pub fn text_of(text: &str, roff: &mut Roff) {
    let (mut verbatim, mut is_break) = (false, false);
    for line in text.lines() {
        if line.is_empty() {
            is_break = true;
            continue;
        }
        let indented = line.starts_with("  ");
        if indented != verbatim {
            roff.control(if indented { "nf" } else { "fi" }, []);
            verbatim = indented;
        }
        let point = line.strip_prefix("- ");
        if std::mem::take(&mut is_break) && point.is_none() {
            roff.control("PP", []);
        }
        match point {
            Some(point) => roff.control("IP", ["\\(bu", "2"]).text([roman(point)]),
            None => roff.text([roman(line)]),
        };
    }
    if verbatim {
        roff.control("fi", []);
    }
}
