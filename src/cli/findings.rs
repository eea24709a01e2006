//! Findings as they are printed: line by line, or as records of a document.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::{Serialize, Serializer};

use crate::finding::{Finding, Severity};

/// More of one kind than this are counted instead of printed.
const SHOWN_OF_A_KIND: usize = 20;

/// Prints a line for each finding; unless `all` are wanted, of a kind with many of them only the first ones and how many more
/// there are.
pub fn write_lines<'f, F: Finding + 'f>(
    findings: impl Iterator<Item = &'f F>,
    all: bool,
    out: &mut impl Write,
    line: impl Fn(&F) -> String,
) -> io::Result<()> {
    let mut shown: BTreeMap<&'static str, usize> = BTreeMap::new();
    for finding in findings {
        let count = shown.entry(finding.code()).or_default();
        *count += 1;
        if all || *count <= SHOWN_OF_A_KIND {
            writeln!(out, "{}", line(finding))?;
        }
    }
    for (code, count) in shown.into_iter().filter(|(_, count)| !all && *count > SHOWN_OF_A_KIND) {
        writeln!(out, "{code}: {} more (--all shows them)", count - SHOWN_OF_A_KIND)?;
    }
    Ok(())
}

/// Findings in a document. They are written one by one: there may be millions.
pub struct Records<'a, T>(pub &'a [T]);

impl<T: Finding + Serialize> Serialize for Records<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|finding| Record {
            code: finding.code(),
            severity: finding.severity(),
            message: finding.to_string(),
            values: finding,
        }))
    }
}

#[derive(Serialize)]
struct Record<'a, T> {
    code: &'static str,
    severity: Severity,
    message: String,
    values: &'a T,
}
