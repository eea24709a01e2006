//! Whether the copies that a device should have are there.

use crate::block::verify::Expected;
use crate::disk::flags::superblock;
use crate::disk::{Logical, Physical, STRIPE_LEN};
use crate::tree::csums::CsumRun;
use crate::tree::data::not_placed;
use crate::volume::{Missed, Piece, Volume};

use super::suspect::Suspect;

/// The places on the suspect of a piece of a logical range. Parity is not among them.
fn places<'v>(suspect: &Suspect<'_>, piece: Piece<'v>) -> impl Iterator<Item = (u16, Physical)> {
    let copies = 1..=piece.chunk.profile.geometry().ncopies;
    let place = move |mirror| Some((mirror, piece.chunk.place(piece.logical, mirror)?));
    copies.filter_map(place).filter(|(_, (stripe, _))| suspect.holds(stripe)).map(|(mirror, (_, at))| (mirror, at))
}

/// Verifies the copies of a tree block, whole or in part, that should be on the suspect.
pub fn block_is_on(
    volume: &Volume,
    suspect: &Suspect<'_>,
    expected: &Expected,
    buffer: &mut Vec<u8>,
) -> Result<(), Missed> {
    let missed = |problem| Missed { what: "tree block", logical: expected.logical, problem };
    let mut judged = None;
    for piece in volume.chunks().pieces(expected.logical, volume.format().nodesize as usize) {
        let piece = piece.map_err(|_| missed("no chunk holds all of it".to_owned()))?;
        for (mirror, _) in places(suspect, piece) {
            if judged != Some(mirror) {
                volume.read_copy(expected, mirror, buffer).map_err(|error| missed(error.to_string()))?;
                judged = Some(mirror);
            }
        }
    }
    Ok(())
}

/// Verifies the copies of data that should be on the suspect.
pub fn data_is_on(volume: &Volume, suspect: &Suspect<'_>, run: CsumRun<'_>) -> Result<(), Missed> {
    let format = volume.format();
    let (size, sectorsize) = (format.csum_type.size(), format.sectorsize as usize);
    let missed = |logical, problem| Missed { what: "data", logical, problem };
    let mut buffer = vec![0; STRIPE_LEN as usize];
    for (piece, csums) in pieces_of(volume, run) {
        let piece = piece.map_err(|logical| missed(logical, "no chunk holds this address".to_owned()))?;
        if not_placed(volume, piece.chunk).is_some() {
            continue;
        }
        for (_, physical) in places(suspect, piece) {
            let bytes = &mut buffer[..piece.length];
            let read = suspect.device().image().read(physical, bytes);
            read.map_err(|error| missed(piece.logical, error.to_string()))?;
            let mut sectors = bytes.chunks(sectorsize).zip(csums.chunks(size));
            let is_bad = |(bytes, sum): (&[u8], &[u8])| format.csum_type.compute(bytes)[..size] != *sum;
            if let Some(bad) = sectors.position(is_bad) {
                let logical = Logical(piece.logical.0.saturating_add((bad * sectorsize) as u64));
                return Err(missed(logical, "checksum mismatch".to_owned()));
            }
        }
    }
    Ok(())
}

/// Cuts a run into pieces of at most [`STRIPE_LEN`], whole sectors each, with their checksums.
pub fn pieces_of<'a>(
    volume: &'a Volume,
    run: CsumRun<'a>,
) -> impl Iterator<Item = (Result<Piece<'a>, Logical>, &'a [u8])> {
    let format = volume.format();
    let (size, sectorsize) = (format.csum_type.size(), format.sectorsize as usize);
    let mut rest = run;
    std::iter::from_fn(move || {
        let CsumRun { logical, csums } = rest;
        let length = (csums.len() / size * sectorsize).min(STRIPE_LEN as usize);
        let piece = volume.chunks().pieces(logical, length).next()?;
        let sectors = piece.as_ref().map_or(csums.len() / size, |piece| piece.length.div_ceil(sectorsize));
        let (own, others) = csums.split_at((sectors * size).min(csums.len()));
        rest = CsumRun { logical: Logical(logical.0.saturating_add((sectors * sectorsize) as u64)), csums: others };
        Some((piece, own))
    })
}

/// Whether data that has checksums can be expected in the image.
pub fn has_data(volume: &Volume) -> bool {
    let elsewhere = superblock::METADUMP | superblock::METADUMP_V2 | superblock::CHANGING_DATA_CSUM;
    volume.superblock().flags.get() & elsewhere == 0
}
