//! Reads a piece of all stripes of a chunk, and judges each sector of it.

use crate::block::verify::BlockError;
use crate::disk::csum::CsumType;
use crate::disk::{Logical, Physical, STRIPE_LEN};
use crate::error::ReadProblem;
use crate::volume::{ChunkMapping, Content, Volume, compute_parity};

use super::super::job::Job;
use super::csums::RangeCsums;
use super::flaw::{Flaw, FlawKind, Flaws};
use super::segment::Segment;

/// Bytes of a stripe that are read at once.
const LENGTH: u64 = 1 << 20;
/// Bytes of all stripes of a piece together, unless it is a single row.
const MEMORY: u64 = 32 << 20;

/// A sector of a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not needed, and not read.
    Unwanted,
    /// Has a checksum: what it is worth is not known yet.
    Summed,
    /// Nothing vouches for it, but parity covers it; or it is parity.
    Unproven,
    Good,
    Bad,
    Unreadable,
    /// Its device is missing.
    Missing,
}

impl State {
    /// Whether another copy is asked for.
    fn is_bad(self) -> bool {
        matches!(self, State::Bad | State::Unreadable | State::Missing)
    }
}

/// The sectors of one stripe.
#[derive(Default)]
struct StripePiece {
    bytes: Vec<u8>,
    states: Vec<State>,
    /// The first error of reading.
    failure: Option<ReadProblem>,
}

impl StripePiece {
    fn sector(&self, sector: usize, sectorsize: usize) -> &[u8] {
        self.bytes.get(sector * sectorsize..(sector + 1) * sectorsize).unwrap_or_default()
    }
}

/// What was verified, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amounts {
    /// Of data with checksums, however many copies it has.
    pub data: u64,
    /// Of all its copies that were read.
    pub copies: u64,
    /// Of parity.
    pub parity: u64,
}

impl Amounts {
    /// Adds what another thread read.
    pub fn merge(&mut self, other: &Amounts) {
        self.data = self.data.saturating_add(other.data);
        self.copies = self.copies.saturating_add(other.copies);
        self.parity = self.parity.saturating_add(other.parity);
    }
}

/// A sector of a stripe that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSector {
    /// How it is wrong.
    pub kind: FlawKind,
    /// Of data; of parity the address that its row begins at.
    pub logical: Logical,
    /// Number of the device.
    pub devid: u64,
    /// First byte on the device.
    pub physical: Physical,
}

/// Hears of each sector that is wrong, on the threads that verify.
pub trait SectorVisitor: Sync {
    /// `good` are the bytes that the sector should have: of another copy, rebuilt from parity, or computed from the row.
    /// Nothing if they are not known.
    fn bad_sector(&self, sector: &BadSector, good: Option<&[u8]>);
}

/// For callers that ask for the flaws alone.
impl SectorVisitor for () {
    fn bad_sector(&self, _: &BadSector, _: Option<&[u8]>) {}
}

/// Verifies segments, with the buffers of one thread.
pub struct Verifier<'v, V> {
    job: Job<'v>,
    volume: &'v Volume,
    visitor: &'v V,
    csum_type: CsumType,
    sectorsize: u64,
    csums: RangeCsums,
    stripes: Vec<StripePiece>,
    parity: [Vec<u8>; 2],
    flaws: Flaws,
    amounts: Amounts,
}

/// A range of all stripes of a segment.
#[derive(Clone, Copy)]
struct Piece<'s> {
    segment: &'s Segment<'s>,
    chunk: &'s ChunkMapping,
    /// Bytes into each stripe.
    start: u64,
    sectors: usize,
}

impl<'v, V: SectorVisitor> Verifier<'v, V> {
    pub fn new(job: &Job<'v>, visitor: &'v V) -> Self {
        let format = job.volume.format();
        let (csums, stripes, parity, flaws, amounts) = Default::default();
        let (csum_type, sectorsize) = (format.csum_type, format.sectorsize.into());
        Self { job: *job, volume: job.volume, visitor, csum_type, sectorsize, csums, stripes, parity, flaws, amounts }
    }

    pub fn finish(self) -> (Flaws, Amounts) {
        (self.flaws, self.amounts)
    }

    pub fn verify(&mut self, segment: &Segment<'_>) {
        let (first, end) = segment.logical();
        self.csums.read(self.volume, &segment.leaves, first, end);
        self.amounts.data = self.amounts.data.saturating_add(self.csums.data_bytes());
        let chunk = segment.chunk;
        let share = MEMORY / chunk.stripes.len().max(1) as u64 / STRIPE_LEN * STRIPE_LEN;
        let length = share.clamp(STRIPE_LEN, LENGTH);
        let mut start = segment.start;
        while start < segment.end && !self.job.progress.is_stopped() {
            let sectors = (segment.end - start).min(length) / self.sectorsize;
            self.verify_piece(Piece { segment, chunk, start, sectors: sectors as usize });
            start = start.saturating_add(length);
        }
        self.job.progress.add(self.csums.data_bytes());
    }

    fn verify_piece(&mut self, piece: Piece<'_>) {
        self.stripes.resize_with(piece.chunk.stripes.len().max(self.stripes.len()), StripePiece::default);
        let has_parity = piece.chunk.profile.geometry().nparity > 0;
        self.plan(piece);
        if has_parity {
            self.plan_rows(piece);
        }
        let mut any_bad = false;
        for stripe in 0..piece.chunk.stripes.len() {
            self.read(piece, stripe);
            any_bad |= self.compare(piece, stripe);
        }
        if any_bad {
            self.judge(piece);
        }
        if has_parity {
            let rows = (piece.sectors as u64 * self.sectorsize).div_ceil(STRIPE_LEN);
            (0..rows).for_each(|row| self.judge_row(piece, row * STRIPE_LEN / self.sectorsize));
        }
    }

    fn content(&self, piece: Piece<'_>, stripe: usize, sector: usize) -> Option<Content> {
        piece.chunk.content(stripe, piece.start + sector as u64 * self.sectorsize)
    }

    fn sum(&self, piece: Piece<'_>, stripe: usize, sector: usize) -> Option<&[u8]> {
        match self.content(piece, stripe, sector)? {
            Content::Data(logical) => self.csums.get(logical),
            Content::Parity { .. } => None,
        }
    }

    /// All sectors with checksums are wanted.
    fn plan(&mut self, piece: Piece<'_>) {
        for stripe in 0..piece.chunk.stripes.len() {
            let mut states = std::mem::take(&mut self.stripes[stripe].states);
            states.clear();
            states.extend((0..piece.sectors).map(|sector| match self.sum(piece, stripe, sector) {
                Some(_) => State::Summed,
                None => State::Unwanted,
            }));
            self.stripes[stripe].states = states;
            self.stripes[stripe].failure = None;
        }
    }

    /// Where parity covers anything that is known to be written, the same sector of all stripes is wanted. Elsewhere it
    /// means nothing: the kernel writes parity with the data, sector by sector, and what is preallocated or was never
    /// allocated is not written.
    fn plan_rows(&mut self, piece: Piece<'_>) {
        let stripes = piece.chunk.stripes.len();
        for sector in 0..piece.sectors {
            let is_written = |stripe: usize| {
                self.stripes[stripe].states[sector] == State::Summed || self.is_tree_block(piece, stripe, sector)
            };
            if (0..stripes).any(is_written) {
                for stripe in &mut self.stripes[..stripes] {
                    if stripe.states[sector] == State::Unwanted {
                        stripe.states[sector] = State::Unproven;
                    }
                }
            }
        }
    }

    fn is_tree_block(&self, piece: Piece<'_>, stripe: usize, sector: usize) -> bool {
        let blocks = &piece.segment.tree_blocks;
        let Some(Content::Data(logical)) = self.content(piece, stripe, sector) else { return false };
        let next = blocks.partition_point(|(_, end)| *end <= logical);
        blocks.get(next).is_some_and(|(start, _)| *start <= logical)
    }

    /// Reads the wanted sectors of a stripe, runs of them at once.
    fn read(&mut self, piece: Piece<'_>, stripe: usize) {
        let sectorsize = self.sectorsize as usize;
        let StripePiece { bytes, states, failure } = &mut self.stripes[stripe];
        let mapping = &piece.chunk.stripes[stripe];
        let device = self.volume.device(mapping);
        let start = mapping.physical.checked_add(piece.start);
        bytes.resize(bytes.len().max(piece.sectors * sectorsize), 0);
        let mut sector = 0;
        for run in states.chunk_by_mut(|a, b| (*a == State::Unwanted) == (*b == State::Unwanted)) {
            let first = sector;
            sector += run.len();
            if run.first() == Some(&State::Unwanted) {
                continue;
            }
            let Some(device) = device else {
                run.fill(State::Missing);
                continue;
            };
            let mut read = |first: usize, count: usize| {
                let bytes = &mut bytes[first * sectorsize..(first + count) * sectorsize];
                let physical = start.and_then(|start| start.checked_add((first * sectorsize) as u64));
                let physical = physical.ok_or(ReadProblem::OutOfRange)?;
                device.image().read(physical, bytes).map_err(|error| ReadProblem::Image(error.to_string()))
            };
            if read(first, run.len()).is_ok() {
                continue;
            }
            // One sector that cannot be read is no reason to give up the others.
            for (index, state) in run.iter_mut().enumerate() {
                if let Err(error) = read(first + index, 1) {
                    *state = State::Unreadable;
                    failure.get_or_insert(error);
                }
            }
        }
    }

    /// Verifies the sectors of a stripe that have checksums; whether any is not good.
    fn compare(&mut self, piece: Piece<'_>, stripe: usize) -> bool {
        let mut states = std::mem::take(&mut self.stripes[stripe].states);
        let (mut any_bad, mut verified) = (false, 0);
        let sectors = self.stripes[stripe].bytes.chunks_exact(self.sectorsize as usize);
        for (sector, (state, bytes)) in states.iter_mut().zip(sectors).enumerate() {
            if *state == State::Summed {
                let is_good = self.sum(piece, stripe, sector).is_some_and(|sum| self.matches(bytes, sum));
                *state = if is_good { State::Good } else { State::Bad };
                verified += self.sectorsize;
            }
            any_bad |= state.is_bad();
        }
        self.amounts.copies = self.amounts.copies.saturating_add(verified);
        self.stripes[stripe].states = states;
        any_bad
    }

    fn matches(&self, bytes: &[u8], sum: &[u8]) -> bool {
        self.csum_type.compute(bytes).starts_with(sum)
    }

    /// Tells what is bad of a piece, and whether it is good elsewhere.
    fn judge(&mut self, piece: Piece<'_>) {
        let chunk = piece.chunk;
        let nparity = usize::from(chunk.profile.geometry().nparity);
        // Copies stand side by side; data with parity has but one.
        let copies = if nparity > 0 { 1 } else { chunk.stripes.len() / chunk.data_stripes() as usize }.max(1);
        let missing = chunk.stripes.iter().filter(|stripe| self.volume.device(stripe).is_none()).count();
        for stripe in 0..chunk.stripes.len() {
            for sector in 0..piece.sectors {
                let state = self.stripes[stripe].states[sector];
                let Some(Content::Data(logical)) = self.content(piece, stripe, sector) else { continue };
                if !state.is_bad() || self.csums.get(logical).is_none() {
                    continue;
                }
                let group = stripe / copies * copies..(stripe / copies + 1) * copies;
                let rebuilt = if nparity > 0 { self.rebuilt(logical) } else { None };
                let good_copy = group.clone().find(|copy| self.stripes[*copy].states[sector] == State::Good);
                let is_good_elsewhere = rebuilt.is_some() || nparity == 0 && good_copy.is_some();
                // A missing device is no damage. What is lost with it is that of its chunk, and told so.
                if state == State::Missing && (is_good_elsewhere || nparity == 0 || missing > nparity) {
                    continue;
                }
                let kind = if is_good_elsewhere { FlawKind::Copy } else { FlawKind::Lost };
                let is_told = |copy: usize| {
                    let state = self.stripes[copy].states[sector];
                    state.is_bad() && state != State::Missing
                };
                if kind == FlawKind::Lost && (group.start..stripe).any(is_told) {
                    continue;
                }
                let sectorsize = self.sectorsize as usize;
                let of_copy = || good_copy.map(|copy| self.stripes[copy].sector(sector, sectorsize));
                let good = rebuilt.as_deref().or_else(of_copy).filter(|_| is_good_elsewhere);
                self.visit(piece, stripe, sector, kind, logical, good);
                self.tell(piece, stripe, sector, kind, logical);
            }
        }
    }

    /// What parity yields, if it has the checksum.
    fn rebuilt(&self, logical: Logical) -> Option<Vec<u8>> {
        let sum = self.csums.get(logical)?;
        let mut buffer = vec![0; self.sectorsize as usize];
        let mut yields =
            |mirror: u16| self.volume.read(logical, mirror, &mut buffer).is_ok() && self.matches(&buffer, sum);
        (2..=self.volume.mirrors(logical)).any(&mut yields).then_some(buffer)
    }

    /// Compares parity with the data of the row that begins at `first`, where all of it could be read and nothing of it
    /// is bad.
    fn judge_row(&mut self, piece: Piece<'_>, first: u64) {
        let sectorsize = self.sectorsize as usize;
        let first = first as usize;
        let end = (first + (STRIPE_LEN as usize) / sectorsize).min(piece.sectors);
        let stripes = &self.stripes[..piece.chunk.stripes.len()];
        if stripes.iter().all(|stripe| stripe.states[first..end].iter().all(|state| *state == State::Unwanted)) {
            return;
        }
        let row = (piece.start + (first * sectorsize) as u64) / STRIPE_LEN;
        let columns = piece.chunk.data_stripes();
        let data: Vec<usize> = (0..columns).map(|column| piece.chunk.stripe_index(row, column, 1)).collect();
        let bytes: Vec<&[u8]> =
            data.iter().map(|stripe| &stripes[*stripe].bytes[first * sectorsize..end * sectorsize]).collect();
        let mut parity = std::mem::take(&mut self.parity);
        let [p, q] = &mut parity;
        p.resize((end - first) * sectorsize, 0);
        q.resize((end - first) * sectorsize, 0);
        compute_parity(&bytes, p, q);
        for (index, expected) in parity.iter().enumerate().take(piece.chunk.stripes.len() - data.len()) {
            let stripe = piece.chunk.stripe_index(row, columns + index as u64, 1);
            for (sector, expected) in (first..end).zip(expected.chunks_exact(sectorsize)) {
                self.judge_parity(piece, stripe, sector, &data, expected);
            }
        }
        self.parity = parity;
    }

    fn judge_parity(&mut self, piece: Piece<'_>, stripe: usize, sector: usize, data: &[usize], expected: &[u8]) {
        let state = |stripe: usize| self.stripes[stripe].states[sector];
        let is_wrong = match state(stripe) {
            State::Unreadable => true,
            State::Unproven if data.iter().any(|column| state(*column).is_bad()) => false,
            State::Unproven => {
                self.amounts.parity = self.amounts.parity.saturating_add(self.sectorsize);
                let sectorsize = self.sectorsize as usize;
                self.stripes[stripe].bytes[sector * sectorsize..][..sectorsize] != *expected
            }
            _ => false,
        };
        if !is_wrong {
            return;
        }
        let is_proven = state(stripe) == State::Unreadable || data.iter().all(|column| state(*column) == State::Good);
        let kind = if is_proven { FlawKind::Parity } else { FlawKind::ParityDisagrees };
        if let Some(Content::Parity { row, .. }) = self.content(piece, stripe, sector) {
            self.visit(piece, stripe, sector, kind, row, is_proven.then_some(expected));
            self.tell(piece, stripe, sector, kind, row);
        }
    }

    fn physical(&self, piece: Piece<'_>, stripe: usize, sector: usize) -> Physical {
        let offset = piece.start + sector as u64 * self.sectorsize;
        piece.chunk.stripes[stripe].physical.checked_add(offset).unwrap_or(Physical(u64::MAX))
    }

    /// Tells the visitor of a sector.
    fn visit(
        &self,
        piece: Piece<'_>,
        stripe: usize,
        sector: usize,
        kind: FlawKind,
        logical: Logical,
        good: Option<&[u8]>,
    ) {
        let (devid, physical) = (piece.chunk.stripes[stripe].devid, self.physical(piece, stripe, sector));
        self.visitor.bad_sector(&BadSector { kind, logical, devid, physical }, good);
    }

    fn tell(&mut self, piece: Piece<'_>, stripe: usize, sector: usize, kind: FlawKind, logical: Logical) {
        let flaw = Flaw {
            kind,
            chunk: piece.chunk.logical,
            stripe,
            devid: piece.chunk.stripes[stripe].devid,
            physical: self.physical(piece, stripe, sector),
            logical,
            length: self.sectorsize,
            error: None,
        };
        let mut flaws = std::mem::take(&mut self.flaws);
        flaws.push(flaw, || self.error(piece, stripe, sector));
        self.flaws = flaws;
    }

    /// Nothing of parity that is not that of its row.
    fn error(&self, piece: Piece<'_>, stripe: usize, sector: usize) -> Option<BlockError> {
        let stripe_piece @ StripePiece { states, failure, .. } = &self.stripes[stripe];
        Some(match (states[sector], self.sum(piece, stripe, sector)) {
            (State::Unreadable, _) => BlockError::Unreadable(failure.clone()?),
            (State::Missing, _) => BlockError::Missing { devid: piece.chunk.stripes[stripe].devid },
            (_, Some(sum)) => {
                let bytes = stripe_piece.sector(sector, self.sectorsize as usize);
                let found = self.csum_type.compute(bytes)[..sum.len()].to_vec();
                BlockError::Csum { found, expected: sum.to_vec() }
            }
            (_, None) => return None,
        })
    }
}
