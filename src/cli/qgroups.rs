//! What `rbtrfs check --qgroup-report` prints of quota groups.

use std::io::{self, Write};

use serde::Serialize;

use crate::check::QgroupReport;

/// A quota group, and whether what it stores was counted.
#[derive(Serialize)]
pub struct Row {
    #[serde(flatten)]
    report: QgroupReport,
    /// Nothing if it is not known what to count.
    agrees: Option<bool>,
}

pub fn rows(reports: &[QgroupReport]) -> Vec<Row> {
    let agrees = |report: &QgroupReport| report.counted.map(|counted| counted == report.stored);
    reports.iter().map(|report| Row { report: *report, agrees: agrees(report) }).collect()
}

pub fn write_text(reports: &[QgroupReport], out: &mut impl Write) -> io::Result<()> {
    let mut line = |qgroup: &str, counts: [&str; 4], agrees: &str| {
        let [rfer, counted_rfer, excl, counted_excl] = counts;
        writeln!(out, "{qgroup:<10} {rfer:>20} {counted_rfer:>20} {excl:>20} {counted_excl:>20}  {agrees}")
    };
    line("qgroup", ["rfer", "counted rfer", "excl", "counted excl"], "agrees")?;
    for Row { report: QgroupReport { qgroup, stored, counted }, agrees } in rows(reports) {
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let [rfer, excl] = [stored.rfer, stored.excl].map(|bytes| bytes.to_string());
        let counted = [counted.map(|counted| counted.rfer), counted.map(|counted| counted.excl)].map(number);
        let agrees = agrees.map_or("-", |agrees| if agrees { "yes" } else { "no" });
        line(&qgroup.to_string(), [&rfer, &counted[0], &excl, &counted[1]], agrees)?;
    }
    Ok(())
}
