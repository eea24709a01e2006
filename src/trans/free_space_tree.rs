use crate::disk::Logical;
use crate::error::Result;
use crate::space::FreeExtents;
use crate::tree::TreeRoot;
use crate::tree::edit::Blocks;
pub fn update<S: Blocks>(_: &mut TreeRoot, _: &mut S, _: Logical, _: u64, _: &FreeExtents, _: u32) -> Result<()> {
    Ok(())
}
pub fn remove<S: Blocks>(_: &mut TreeRoot, _: &mut S, _: Logical, _: u64) -> Result<()> {
    Ok(())
}
