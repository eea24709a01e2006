//! What manuals are written in: `# HEADING` lines, paragraphs, `- ` lists, and indented lines that stay as they are. `@include NAME`
//! stands for a text that several pages have, and `@page NAME` begins the page of a subcommand.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::disk::profile::Profile;

/// What several pages have.
fn common(name: &str) -> Option<String> {
    Some(match name {
        "profiles" => profiles(),
        "exit" => include_str!("exit.manual").to_owned(),
        "after-change" => include_str!("after-change.manual").to_owned(),
        "refused" => include_str!("refused.manual").to_owned(),
        "behind" => include_str!("behind.manual").to_owned(),
        "parity" => include_str!("parity.manual").to_owned(),
        "sizes" => include_str!("sizes.manual").to_owned(),
        "files" => include_str!("files.manual").to_owned(),
        "environment" => include_str!("environment.manual").to_owned(),
        _ => return None,
    })
}

/// The sections of a page, each with its heading and its text.
#[derive(Debug, Default)]
pub struct Manual(Vec<(String, String)>);

impl Manual {
    /// The text of one page.
    pub fn of(text: &str) -> Self {
        let mut sections: Vec<(String, String)> = Vec::new();
        for line in included(text).lines() {
            if let Some(heading) = line.strip_prefix("# ") {
                sections.push((heading.to_owned(), String::new()));
            } else if let Some((_, text)) = sections.last_mut() {
                *text += line;
                text.push('\n');
            }
        }
        Self(sections)
    }

    /// The text of a page, and of those of its subcommands by their names. The first one has no name.
    pub fn split(text: &str) -> HashMap<&str, Self> {
        let (first, rest) = text.split_once("@page ").unwrap_or((text, ""));
        let others = rest.split("@page ").filter_map(|page| page.split_once('\n'));
        std::iter::once(("", first)).chain(others).map(|(name, text)| (name, Self::of(text))).collect()
    }

    /// Headings and texts in their order.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(heading, text)| (heading.as_str(), text.trim_matches('\n')))
    }
}

fn included(text: &str) -> String {
    let mut all = String::new();
    for line in text.lines() {
        match line.strip_prefix("@include ").and_then(common) {
            Some(common) => all += &common,
            None => writeln!(all, "{line}").unwrap_or_default(),
        }
    }
    all
}

/// The profiles, by what the format says of them.
fn profiles() -> String {
    let mut text = include_str!("profiles.manual").to_owned();
    text += "\n  profile   at least   copies   parity   may be lost   of the space\n";
    for profile in Profile::ALL {
        let it = profile.geometry();
        let (least, copies, parity) = (it.devs_min, it.ncopies, it.nparity);
        let share = match (parity, copies) {
            (0, 1) => "all".to_owned(),
            (0, copies) => format!("1/{copies}"),
            (parity, _) => format!("(n-{parity})/n"),
        };
        let name = it.name.to_lowercase();
        let lost = it.tolerated_failures;
        writeln!(text, "  {name:<9} {least:<10} {copies:<8} {parity:<8} {lost:<13} {share}").unwrap_or_default();
    }
    text
}
