//! What is wrong with data and parity.

use crate::problem::{DataFault, DataProblem};
use crate::survey::verify::{FileRange, Flaw, FlawKind, Verified};

use super::findings::Findings;

pub fn check(verified: Verified, findings: &Findings) {
    for (logical, reason) in verified.not_verified {
        findings.report(DataProblem::NotVerified { logical, reason });
    }
    for FileRange { tree, inode, start, end } in verified.lost_files {
        findings.report(DataProblem::LostFile { tree, inode, offset: start, length: end - start });
    }
    for Flaw { kind, logical, length, devid, physical, error, .. } in verified.flaws {
        let problem = error.map_or(DataFault::NotOfRow, DataFault::Bad);
        findings.report(match kind {
            FlawKind::Copy => DataProblem::BadCopy { logical, length, devid, physical, problem },
            FlawKind::Lost => DataProblem::Lost { logical, length, devid, physical, problem },
            FlawKind::Parity => DataProblem::Parity { logical, length, devid, physical, problem },
            FlawKind::ParityDisagrees => DataProblem::ParityDisagrees { logical, length, devid, physical, problem },
        });
    }
}
