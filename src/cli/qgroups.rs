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
        let counted = counted.map_or_else(Default::default, |counted| [counted.rfer, counted.excl].map(|n| n.to_string()));
        let counted = counted.each_ref().map(|number| if number.is_empty() { "-" } else { number });
        let counts = [&stored.rfer.to_string(), counted[0], &stored.excl.to_string(), counted[1]];
        line(&qgroup.to_string(), counts, agrees.map_or("-", |agrees| if agrees { "yes" } else { "no" }))?;
    }
    Ok(())
}
