//! How a logical range is cut into runs of bytes that lie on one stripe.

use crate::disk::{Logical, Physical, Profile, STRIPE_LEN};

use super::chunk_map::{ChunkMap, ChunkMapping, StripeMapping};

/// A byte within one stripe of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Row of stripes, for striped profiles.
    pub row: u64,
    /// Which data stripe of the row.
    pub column: u64,
    /// Bytes from the start of the stripe element, less than [`STRIPE_LEN`] for striped profiles.
    pub within: u64,
}

/// What a stripe holds at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Data at this logical address.
    Data(Logical),
    /// 0 is P, 1 is Q; `row` is the address of the first data in the row.
    Parity {
        /// Which parity: 0 for P, 1 for Q.
        index: usize,
        /// Logical address of the first data of the row.
        row: Logical,
    },
}

/// A part of a logical range that lies in one chunk, and for striped profiles in one stripe element.
#[derive(Clone, Copy)]
pub struct Piece<'a> {
    /// The chunk that holds the piece.
    pub chunk: &'a ChunkMapping,
    /// Logical address of the piece.
    pub logical: Logical,
    /// Bytes of the piece.
    pub length: usize,
}

impl ChunkMapping {
    /// Whether data is spread over the stripes in elements of [`STRIPE_LEN`].
    pub fn is_striped(&self) -> bool {
        matches!(self.profile, Profile::Raid0 | Profile::Raid10 | Profile::Raid5 | Profile::Raid6)
    }

    /// The segment of a byte `offset` bytes from the start of the chunk.
    pub(super) fn segment(&self, offset: u64) -> Segment {
        if !self.is_striped() {
            return Segment { row: 0, column: 0, within: offset };
        }
        let element = offset / STRIPE_LEN;
        let columns = self.data_stripes();
        Segment { row: element / columns, column: element % columns, within: offset % STRIPE_LEN }
    }

    /// Index of the stripe that holds this column of a row; parity follows the data columns.
    pub fn stripe_index(&self, row: u64, column: u64, mirror: u16) -> usize {
        let index = match self.profile {
            Profile::Raid5 | Profile::Raid6 => (column + row) % self.stripes.len() as u64,
            Profile::Raid10 => column * u64::from(self.sub_stripes()) + u64::from(mirror - 1),
            Profile::Raid0 => column,
            _ => u64::from(mirror - 1),
        };
        index as usize
    }

    /// What is `offset` bytes into a stripe; of parity, `row` is as far into the row's first element. Nothing past the
    /// end of the chunk.
    pub fn content(&self, stripe: usize, offset: u64) -> Option<Content> {
        let at = |bytes: u64| self.logical.checked_add(bytes).filter(|logical| *logical < self.end());
        if !self.is_striped() {
            return at(offset).map(Content::Data);
        }
        let (row, within, columns) = (offset / STRIPE_LEN, offset % STRIPE_LEN, self.data_stripes());
        let stripes = self.stripes.len() as u64;
        let column = match self.profile {
            Profile::Raid5 | Profile::Raid6 => (stripe as u64 + stripes - row % stripes) % stripes,
            Profile::Raid10 => stripe as u64 / u64::from(self.sub_stripes()),
            _ => stripe as u64,
        };
        let first = row.checked_mul(columns * STRIPE_LEN)?.checked_add(within)?;
        match column.checked_sub(columns) {
            Some(index) => at(first).map(|row| Content::Parity { index: index as usize, row }),
            None => at(first.checked_add(column * STRIPE_LEN)?).map(Content::Data),
        }
    }

    /// Stripe and place of a segment in the copy `mirror`, counted from 1. The column may be one of parity.
    pub(super) fn place_of(&self, segment: Segment, mirror: u16) -> Option<(&StripeMapping, Physical)> {
        let stripe = self.stripes.get(self.stripe_index(segment.row, segment.column, mirror))?;
        let physical = stripe.physical.checked_add(segment.row * STRIPE_LEN)?.checked_add(segment.within)?;
        Some((stripe, physical))
    }

    /// Stripe and place of a byte in the copy `mirror`, counted from 1. Rebuilds have no place.
    pub fn place(&self, logical: Logical, mirror: u16) -> Option<(&StripeMapping, Physical)> {
        if mirror == 0 || (self.profile.geometry().nparity > 0 && mirror > 1) {
            return None;
        }
        self.place_of(self.segment(logical.0.checked_sub(self.logical.0)?), mirror)
    }
}

impl ChunkMap {
    /// Cuts a logical range into pieces, up to the first address that no chunk holds, which is the error.
    pub fn pieces(&self, logical: Logical, length: usize) -> impl Iterator<Item = Result<Piece<'_>, Logical>> {
        let mut rest = Some((logical, length));
        std::iter::from_fn(move || {
            let (logical, left) = rest.take().filter(|(_, left)| *left > 0)?;
            let Some(chunk) = self.find(logical) else { return Some(Err(logical)) };
            let offset = logical.0 - chunk.logical.0;
            let in_stripe = if chunk.is_striped() { STRIPE_LEN - offset % STRIPE_LEN } else { u64::MAX };
            let length = in_stripe.min(chunk.length - offset).min(left as u64) as usize;
            // No chunk reaches past the last address.
            rest = Some((Logical(logical.0 + length as u64), left - length));
            Some(Ok(Piece { chunk, logical, length }))
        })
    }
}
