//! Doing what was planned.

use crate::chunk::{begin_to_free, finish};
use crate::error::Result;
use crate::relocate::{Evacuation, Moved, Options, drop_relocation_trees, relocate};
use crate::trans::Filesystem;

use super::plan::Plan;

/// Empties block groups in the order of the plan. `moved` says what was committed, also where an error is returned. Where the
/// progress is stopped the batch that is under way is the last, and `moved` says what is left. If the kernel was to go on with a
/// balance, that is ended once nothing is left. The filesystem comes back after the last commit.
///
/// # Errors
/// As those of [`relocate`]; each batch is on the disk as a whole or not at all.
pub fn run(fs: Filesystem, plan: &Plan, options: &Options<'_>, moved: &mut Moved) -> Result<Filesystem> {
    let evacuations: Vec<Evacuation> =
        plan.steps.iter().map(|step| Evacuation { start: step.chunk.logical, into: step.into }).collect();
    let mut fs = relocate(fs, &evacuations, options, moved)?;
    if moved.left.is_empty() && fs.balance_item()?.is_some() {
        end_paused(&mut fs)?;
        moved.transactions += 1;
    }
    Ok(fs)
}

/// Ends a balance that the kernel would go on with, and drops the relocation trees that it left, in transactions of their own.
///
/// # Errors
/// There is no such balance, or the change cannot be made.
pub fn end_paused(fs: &mut Filesystem) -> Result<()> {
    drop_relocation_trees(fs)?;
    let mut handle = begin_to_free(fs, 1)?;
    let deleted = handle.delete_balance_item();
    finish(handle)?;
    deleted?;
    fs.commit()
}
