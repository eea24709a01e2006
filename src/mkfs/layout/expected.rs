//! What is expected to come into a new filesystem, and what of it stays free.

use crate::disk::Profile;
use crate::tree::reservation::to_write_files;

use super::super::estimate::Estimate;
use super::super::options::Options;

pub const MIB: u64 = 1 << 20;
/// Bytes of data that stay free where a device is cut: the kernel wants a block for each file that is written, also for
/// one that will stand in a leaf.
pub const DATA_LEFT: u64 = MIB;
/// Bytes of data that may be lost at superblocks and where chunks end.
const DATA_LOST: u64 = MIB;
/// What of the expected data is none.
pub const DATA_SPARE: u64 = DATA_LEFT + DATA_LOST;
/// Copies on one device lie side by side: what is too much of a chunk stays between them. Where it is not known how much
/// data comes, a chunk has this part of what comes at the least.
pub const STEPS: u64 = 8;
/// Chunks are laid out beforehand for no more than this, whatever the sizes of files say.
const MOST: u64 = 1 << 50;

/// What is yet to come, and what is to be left free.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    /// Whether anything is known of it.
    pub is_known: bool,
    /// Mixed groups have all of it as data.
    pub metadata: u64,
    pub data: u64,
    /// What comes in any case.
    pub least_metadata: u64,
    pub least_data: u64,
    /// Bytes of each chunk of data, in the place of all that is expected.
    pub step: Option<u64>,
}

impl Expected {
    pub fn new(options: &Options, estimate: &Estimate) -> Self {
        if estimate.metadata == 0 {
            return Self::default();
        }
        let most = |bytes: u64| bytes.min(MOST);
        let metadata = most(estimate.metadata) + to_write_files(options.nodesize, most(estimate.global));
        let data = most(estimate.data) + DATA_SPARE;
        let (least_metadata, least_data) = (most(estimate.least_metadata), most(estimate.least_data));
        let together = |metadata: u64, data: u64| if options.mixed { (0, data + metadata) } else { (metadata, data) };
        let (metadata, data) = together(metadata, data);
        let (least_metadata, least_data) = together(least_metadata, least_data);
        let has_steps = estimate.is_guess && options.data == Profile::Dup;
        let step = has_steps.then_some(data / STEPS);
        Self { is_known: true, metadata, data, least_metadata, least_data, step }
    }

    /// Whether there are chunks for all of it.
    pub fn is_met(&self) -> bool {
        self.metadata == 0 && self.data <= DATA_SPARE
    }

    /// The end: so much and no more.
    pub fn only(metadata: u64, data: u64) -> Self {
        Self { is_known: true, metadata, data, ..Self::default() }
    }

    pub fn subtract(&mut self, is_metadata: bool, length: u64) {
        let expected = if is_metadata { &mut self.metadata } else { &mut self.data };
        *expected = expected.saturating_sub(length);
    }
}
