//! Whether the parity that a device holds is that of its rows.

use std::collections::BTreeMap;

use crate::disk::{Logical, STRIPE_LEN};
use crate::ranges::joined;
use crate::tree::csums::{CsumRoot, CsumRun};
use crate::volume::{ChunkMapping, Missed, Piece, Volume, compute_parity, rebuild_column};

use super::copies::pieces_of;
use super::newer::Newer;
use super::suspect::Suspect;

/// Parts of rows, first and last byte of each column's element, by chunk and row.
#[derive(Default)]
pub struct Parts {
    rows: BTreeMap<(Logical, u64), Vec<(u64, u64)>>,
}

impl Parts {
    /// Adds the part of a row that a piece lies in, if it has parity.
    pub fn add(&mut self, piece: Piece<'_>) {
        if piece.chunk.profile.geometry().nparity == 0 {
            return;
        }
        let offset = piece.logical.0 - piece.chunk.logical.0;
        let (row, start) = (offset / STRIPE_LEN / piece.chunk.data_stripes(), offset % STRIPE_LEN);
        let parts = self.rows.entry((piece.chunk.logical, row)).or_default();
        let end = start + piece.length as u64;
        match parts.last_mut().filter(|last| last.0 <= start && start <= last.1) {
            Some(last) => last.1 = last.1.max(end),
            None => parts.push((start, end)),
        }
    }

    /// Sorted, and without overlap.
    fn iter(&self) -> impl Iterator<Item = (Logical, u64, u64, u64)> {
        self.rows.iter().flat_map(|((chunk, row), parts)| {
            joined(parts.clone()).into_iter().map(|(start, end)| (*chunk, *row, start, end))
        })
    }
}

/// What is known of the contents of rows, beside what their devices hold.
pub struct Rows<'a, 'v> {
    volume: &'v Volume,
    suspects: &'a [Suspect<'v>],
    newer: &'a Newer,
    csums: Option<&'a CsumRoot>,
    /// Newer data, start and end.
    data: Vec<(u64, u64)>,
}

impl<'a, 'v> Rows<'a, 'v> {
    /// Without checksums, data is taken as it is on its device.
    pub fn new(volume: &'v Volume, suspects: &'a [Suspect<'v>], newer: &'a Newer, csums: Option<&'a CsumRoot>) -> Self {
        let oldest = suspects.iter().map(Suspect::generation).min().unwrap_or_default();
        Self { volume, suspects, newer, csums, data: newer.data_after(oldest) }
    }

    /// Verifies all parity of these parts that should be on the suspect.
    pub fn are_on(&self, suspect: &Suspect<'_>, parts: &Parts) -> Result<(), Missed> {
        for (chunk, row, start, end) in parts.iter() {
            let Some(chunk) = self.volume.chunks().find(chunk) else { continue };
            self.is_on(suspect, chunk, row, (start, end))?;
        }
        Ok(())
    }

    fn is_on(&self, suspect: &Suspect<'_>, chunk: &ChunkMapping, row: u64, part: (u64, u64)) -> Result<(), Missed> {
        let columns = chunk.data_stripes();
        let parities = u64::from(chunk.profile.geometry().nparity);
        let stripe = |column| chunk.stripes.get(chunk.stripe_index(row, column, 1));
        let own: Vec<u64> = (columns..columns + parities)
            .filter(|column| stripe(*column).is_some_and(|stripe| suspect.holds(stripe)))
            .collect();
        if own.is_empty() {
            return Ok(());
        }
        let first = Logical(chunk.logical.0.saturating_add(row.saturating_mul(columns).saturating_mul(STRIPE_LEN)));
        let missed =
            |problem: &str| Missed { what: "parity of the row at", logical: first, problem: problem.to_owned() };
        let data: Vec<Option<Vec<u8>>> = (0..columns).map(|column| self.column(chunk, row, column, part)).collect();
        let data = self.complete(chunk, row, part, data).ok_or_else(|| missed("too little of the row is known"))?;
        let columns_of_data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        let length = (part.1 - part.0) as usize;
        let (mut p, mut q) = (vec![0; length], vec![0; length]);
        compute_parity(&columns_of_data, &mut p, &mut q);
        for (column, expected) in (columns..).zip([p, q]).filter(|(column, _)| own.contains(column)) {
            match self.read(chunk, row, column, part) {
                Some(bytes) if bytes == expected => {}
                Some(_) => return Err(missed("is not that of its data")),
                None => return Err(missed("cannot be read")),
            }
        }
        Ok(())
    }

    /// Rebuilds data columns of which nothing is known from the parity on devices that are not behind.
    fn complete(
        &self,
        chunk: &ChunkMapping,
        row: u64,
        part: (u64, u64),
        mut data: Vec<Option<Vec<u8>>>,
    ) -> Option<Vec<Vec<u8>>> {
        if data.iter().any(Option::is_none) {
            let parities = usize::from(chunk.profile.geometry().nparity);
            let columns = data.len();
            for parity in 0..parities {
                let column = (columns + parity) as u64;
                let is_trusted = !self.is_on_suspect(chunk, row, column);
                data.push(self.read(chunk, row, column, part).filter(|_| is_trusted));
            }
            let rebuilt: Vec<Option<Vec<u8>>> = (0..columns)
                .map(|column| data[column].clone().or_else(|| rebuild_column(&data, parities, column)))
                .collect();
            data = rebuilt;
        }
        data.into_iter().collect()
    }

    fn is_on_suspect(&self, chunk: &ChunkMapping, row: u64, column: u64) -> bool {
        let stripe = chunk.stripes.get(chunk.stripe_index(row, column, 1));
        stripe.is_some_and(|stripe| self.suspects.iter().any(|suspect| suspect.holds(stripe)))
    }

    /// A part of a column as its device has it; nothing if the device is missing or fails.
    fn read(&self, chunk: &ChunkMapping, row: u64, column: u64, (start, end): (u64, u64)) -> Option<Vec<u8>> {
        let stripe = chunk.stripes.get(chunk.stripe_index(row, column, 1))?;
        let physical = stripe.physical.checked_add(row.checked_mul(STRIPE_LEN)?)?.checked_add(start)?;
        let mut bytes = vec![0; (end - start) as usize];
        self.volume.device(stripe)?.image().read(physical, &mut bytes).ok()?;
        Some(bytes)
    }

    /// A part of a data column as it should be: as its device has it, but for what is newer than some device, which
    /// comes from whichever copy is good. Nothing if that is not known.
    fn column(&self, chunk: &ChunkMapping, row: u64, column: u64, part: (u64, u64)) -> Option<Vec<u8>> {
        let offset = (row.checked_mul(chunk.data_stripes())?.checked_add(column)?).checked_mul(STRIPE_LEN)?;
        let first = chunk.logical.checked_add(offset.checked_add(part.0)?)?;
        let length = (part.1 - part.0) as usize;
        let read = self.read(chunk, row, column, part);
        let is_doubtful = read.is_none() || self.is_on_suspect(chunk, row, column);
        let mut bytes = Known { first, is_known: vec![read.is_some(); length], bytes: read.unwrap_or(vec![0; length]) };
        self.add_blocks(&mut bytes)?;
        if is_doubtful {
            self.add_data(&mut bytes)?;
        }
        bytes.is_known.iter().all(|is_known| *is_known).then_some(bytes.bytes)
    }

    /// Newer tree blocks.
    fn add_blocks(&self, known: &mut Known) -> Option<()> {
        let nodesize = u64::from(self.volume.format().nodesize);
        let from = Logical(known.first.0.saturating_sub(nodesize - 1));
        let mut buffer = Vec::new();
        for (logical, expected) in self.newer.in_rows.range(from..known.end()) {
            let read = self.volume.read_block(expected, &mut buffer).ok()?;
            known.put(*logical, read.block.bytes());
        }
        Some(())
    }

    /// Newer data that has checksums.
    fn add_data(&self, known: &mut Known) -> Option<()> {
        let Some(csums) = self.csums else { return Some(()) };
        let (first, end) = (known.first.0, known.end().0);
        let next = self.data.partition_point(|range| range.1 <= first);
        let newer = self.data[next..].iter().take_while(|range| range.0 < end);
        let ranges: Vec<(u64, u64)> = newer.map(|range| (range.0.max(first), range.1.min(end))).collect();
        let mut is_good = true;
        let read = csums.for_each(self.volume, &ranges, |run| is_good &= self.add_run(known, run).is_some());
        read.ok().filter(|()| is_good)
    }

    fn add_run(&self, known: &mut Known, run: CsumRun<'_>) -> Option<()> {
        let format = self.volume.format();
        let (size, sectorsize) = (format.csum_type.size(), u64::from(format.sectorsize));
        let mut sector = vec![0; sectorsize as usize];
        for (piece, csums) in pieces_of(self.volume, run) {
            let piece = piece.ok()?;
            for (logical, sum) in (piece.logical.0..).step_by(sectorsize as usize).map(Logical).zip(csums.chunks(size))
            {
                let mut mirrors = 1..=piece.chunk.mirrors();
                mirrors.find(|mirror| {
                    self.volume.read(logical, *mirror, &mut sector).is_ok()
                        && format.csum_type.compute(&sector)[..size] == *sum
                })?;
                known.put(logical, &sector);
            }
        }
        Some(())
    }
}

/// Bytes of a column, and which of them are known.
struct Known {
    first: Logical,
    bytes: Vec<u8>,
    is_known: Vec<bool>,
}

impl Known {
    fn end(&self) -> Logical {
        Logical(self.first.0.saturating_add(self.bytes.len() as u64))
    }

    /// Takes what of `bytes`, which stand at `logical`, lies in the column.
    fn put(&mut self, logical: Logical, bytes: &[u8]) {
        let skipped = self.first.0.saturating_sub(logical.0) as usize;
        let to = logical.0.saturating_sub(self.first.0) as usize;
        let bytes = bytes.iter().skip(skipped);
        for ((own, is_known), byte) in self.bytes.iter_mut().zip(&mut self.is_known).skip(to).zip(bytes) {
            (*own, *is_known) = (*byte, true);
        }
    }
}
