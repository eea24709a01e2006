//! Findings as they are printed: line by line, or as records of a document.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::{Serialize, Serializer};

use crate::finding::{Finding, Severity};
use crate::problem::{Harm, Problem};

/// More of one kind than this are counted instead of printed.
const SHOWN_OF_A_KIND: usize = 20;

/// Prints a line for each finding; unless `all` are wanted, of a kind with many of them only the first ones and how many more
/// there are.
pub fn write_lines<'f, F: Finding + 'f>(
    findings: impl Iterator<Item = &'f F>,
    all: bool,
    out: &mut impl Write,
    mut line: impl FnMut(&F) -> String,
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
        serializer.collect_seq(self.0.iter().map(|finding| Record::new(finding, None)))
    }
}

/// Problems in a document, with what each means.
pub struct Problems<'a>(pub &'a [Problem]);

impl Serialize for Problems<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|problem| Record::new(problem, Some(problem.harm()))))
    }
}

#[derive(Serialize)]
struct Record<'a, T> {
    code: &'static str,
    severity: Severity,
    #[serde(skip_serializing_if = "Option::is_none")]
    harm: Option<Harm>,
    message: String,
    values: &'a T,
}

impl<'a, T: Finding> Record<'a, T> {
    fn new(finding: &'a T, harm: Option<Harm>) -> Self {
        let (code, severity, message) = (finding.code(), finding.severity(), finding.to_string());
        Self { code, severity, harm, message, values: finding }
    }
}
