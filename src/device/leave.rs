//! Making a part of a device free of chunks.

use crate::error::{Error, Result};
use crate::relocate::{Evacuation, Options, Rules, relocate_by};
use crate::trans::Filesystem;
use crate::volume::ChunkMapping;

use super::stripes::{Shifted, find_places, shift};

/// Has nothing lie on a device from a byte of it on, and nothing come there while the filesystem is open. Stripes go to other
/// places as they are; where they have none, what is in their chunks is moved to others of the same profiles. There may be
/// several commits, each of which leaves less behind that byte.
///
/// # Errors
/// As those of [`relocate_by`]; what cannot be copied; [`Error::Interrupted`]. `shifted` says what was committed.
pub fn leave(
    mut fs: Filesystem,
    devid: u64,
    end: u64,
    options: &Options<'_>,
    shifted: &mut Shifted,
) -> Result<Filesystem> {
    fs.bound_device(devid, end);
    loop {
        let leaving = find_places(&fs, devid, end)?;
        if !leaving.moves.is_empty() {
            fs = shift(fs, &leaving.moves, options, shifted)?;
            continue;
        }
        if leaving.left.is_empty() {
            return Ok(fs);
        }
        let evacuation = |chunk: &ChunkMapping| Evacuation { start: chunk.logical, into: chunk.profile };
        let evacuations: Vec<Evacuation> = leaving.left.iter().map(evacuation).collect();
        let rules = Rules { into: &[], last_goes: true };
        fs = relocate_by(fs, &evacuations, rules, options, &mut shifted.moved)?;
        if !shifted.moved.left.is_empty() {
            return Err(Error::Interrupted);
        }
    }
}
