//! The page of problems: what each code means.

use clap_mangen::roff::{bold, italic, roman};

use super::page::{text_of, title};
use super::source::Manual;
use crate::finding::ProblemKind;
use crate::problem::{Harm, Problem};
use crate::repair::remedy;

pub const NAME: &str = "rbtrfs-problems";

/// The section of what belongs to no program alone.
pub const SECTION: &str = "7";

fn harm(kind: &ProblemKind) -> &'static str {
    match Harm::of_kind(kind) {
        Harm::Note => "none",
        harm => harm.title(),
    }
}

/// The page.
///
/// # Errors
/// None: it is written to memory.
pub fn page() -> std::io::Result<Vec<u8>> {
    let mut page = title(NAME, SECTION);
    page.control("SH", ["NAME"]);
    page.text([roman(format!("{NAME} - what a check finds, what it means and what a repair does"))]);
    for (heading, text) in Manual::of(include_str!("problems.manual")).sections() {
        page.control("SH", [heading]);
        text_of(text, &mut page);
        if heading != "PROBLEMS" {
            continue;
        }
        for kind in Problem::kinds() {
            let ProblemKind { code, severity, meaning } = kind;
            page.control("TP", []);
            page.text([bold(*code), roman(format!(" ({severity})"))]);
            page.text([roman(*meaning)]);
            page.control("br", []);
            page.text([italic("Harm:"), roman(format!(" {}.", harm(kind)))]);
            page.control("br", []);
            page.text([italic("Repair:"), roman(format!(" {}.", remedy(code)))]);
        }
    }
    let mut out = Vec::new();
    page.to_writer(&mut out)?;
    Ok(out)
}
