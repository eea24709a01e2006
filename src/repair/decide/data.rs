//! Data: a good copy over a bad one, parity by its row, and checksums in which a bit has flipped.

use crate::problem::DataProblem;

use super::super::copies::StripeRange;
use super::super::fix::Fix;
use super::super::plan::Plan;
use super::csums::Checksums;

/// A problem of data or parity.
pub fn decide(plan: &mut Plan<'_>, csums: &mut Checksums, problem: &DataProblem) {
    use DataProblem as P;
    match *problem {
        P::BadCopy { logical, length, devid, physical, .. } => {
            let fix = Fix::Data { logical, length, devid, physical };
            write_anew(plan, StripeRange { logical, length, devid, physical }, fix);
        }
        P::Parity { logical, length, devid, physical, .. } => {
            let fix = Fix::Parity { logical, length, devid, physical };
            write_anew(plan, StripeRange { logical, length, devid, physical }, fix);
        }
        P::Lost { logical, length, devid, physical, .. } => {
            csums.put_bits_back(plan, StripeRange { logical, length, devid, physical });
        }
        P::LostFile { .. } | P::ParityDisagrees { .. } | P::NotVerified { .. } => {}
    }
}

/// The devices of a seed stay as they are.
fn write_anew(plan: &mut Plan<'_>, range: StripeRange, fix: Fix) {
    let mut devices = plan.volume.devices().iter();
    if devices.any(|device| device.devid() == range.devid && !device.is_seed()) {
        plan.data.push(range);
        plan.fix(fix);
    }
}
