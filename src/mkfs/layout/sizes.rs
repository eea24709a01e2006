//! How large the chunks of a new filesystem become, by what is expected to come into them.

use crate::chunk::placement::{Limits, MAX_STRIPE, STRIPE_ALIGNMENT};
use crate::disk::flags::block_group;
use crate::disk::superblock::SYSTEM_CHUNK_ARRAY_SIZE;
use crate::disk::{BlockGroupFlags, Profile, STRIPE_LEN};
use crate::tree::reservation::{to_change_chunk, to_write_files};

use super::expected::{Expected, MIB, STEPS};
use super::{ChunkKind, Layout};

/// Blocks of metadata with which the kernel fills all of a device with data, if the device has much beside them, as was found
/// by trying.
const NODES_BESIDE_MUCH: u64 = 544;
/// Much is as many blocks for each copy on a device, and no less than these bytes.
const MUCH_NODES: u64 = 1376;
const MUCH: u64 = 28 * MIB;
/// Blocks of the chunk tree, and copies of them that wait for a commit.
const SYSTEM_NODES: u64 = 4;
const METADATA: BlockGroupFlags = BlockGroupFlags(block_group::METADATA);

/// How a chunk lies on devices.
struct Stripes {
    count: u64,
    /// Those that hold different data.
    data: u64,
    copies_on_device: u64,
}

impl Layout {
    /// Bytes of metadata without which the kernel writes to no filesystem.
    pub(super) fn writable_metadata(&self) -> u64 {
        to_write_files(self.nodesize, 0)
    }

    /// Bytes of system space with which the kernel makes chunks: with less it makes another system chunk first, which takes much of a
    /// small device (`check_system_chunk` in fs/btrfs/block-group.c).
    fn least_system(&self) -> u64 {
        let devices = self.devices.len() as u64;
        let free = [self.data, self.metadata].map(|profile| to_change_chunk(self.nodesize, profile, devices));
        free.into_iter().max().unwrap_or_default() + SYSTEM_NODES * u64::from(self.nodesize)
    }

    /// Bytes of metadata that a filesystem without content begins with at the least.
    pub(super) fn least_metadata(&self) -> u64 {
        let Stripes { copies_on_device, data, .. } = self.stripes();
        let nodes = |count: u64| count * u64::from(self.nodesize);
        let taken = nodes(NODES_BESIDE_MUCH) / data * copies_on_device;
        let beside = self.smallest_device().saturating_sub(taken) / copies_on_device;
        if beside >= MUCH.max(nodes(MUCH_NODES)) { nodes(NODES_BESIDE_MUCH) } else { self.writable_metadata() }
    }

    /// Bytes that must be free for the kernel to write a MiB of data to a filesystem without content: as was found by
    /// trying. Of a chunk on several devices some is lost to each.
    pub(super) fn writable_data(&self) -> u64 {
        let data_stripes = self.stripes_of(self.data).data;
        match self.mixed {
            true => self.writable_metadata() + MIB / 2 + (data_stripes - 1) * MIB,
            false => data_stripes * MIB,
        }
    }

    /// Bytes of the first chunk of metadata where no content is known: as many as the kernel would give it, or btrfs-progs
    /// where that is less, but two thirds of a small device at the most.
    fn first_metadata(&self) -> u64 {
        let Stripes { copies_on_device, data, .. } = self.stripes();
        let of_kernel = self.of_kernel().max_chunk(METADATA) / data;
        let of_kernel = match self.total_bytes() / 10 < STRIPE_ALIGNMENT {
            true => of_kernel,
            false => of_kernel.next_multiple_of(STRIPE_ALIGNMENT),
        };
        let stripe = of_kernel.min(self.metadata_of_progs() / data).max(self.least_metadata().div_ceil(data));
        let most = self.smallest_device() / 3 * 2 / copies_on_device;
        stripe.min(most).next_multiple_of(STRIPE_LEN).max(STRIPE_LEN) * data
    }

    /// Bytes of the first chunk of metadata in a filesystem of mkfs.btrfs (`decide_stripe_size_regular` in
    /// kernel-shared/volumes.c).
    fn metadata_of_progs(&self) -> u64 {
        if self.metadata == Profile::Single {
            return 8 * MIB;
        }
        let Stripes { count, data, .. } = self.stripes();
        // The same bounds as the kernel's, in another order.
        let (most, stripe) = (self.of_kernel().max_chunk(METADATA), self.of_kernel().chunk_size(METADATA));
        let stripe = if stripe * data > most { (most / count).max(32 * MIB) } else { stripe };
        stripe / MIB * MIB * data
    }

    fn smallest_device(&self) -> u64 {
        self.devices.iter().map(|device| device.size).min().unwrap_or_default()
    }

    /// The stripes of a chunk of metadata on all devices.
    fn stripes(&self) -> Stripes {
        self.stripes_of(self.metadata)
    }

    fn stripes_of(&self, profile: Profile) -> Stripes {
        let geometry = profile.geometry();
        let devices = geometry.devices(self.devices.len(), usize::MAX).unwrap_or(1);
        let copies_on_device = u64::from(geometry.dev_stripes);
        let count = devices as u64 * copies_on_device;
        let data = profile.data_stripes(u16::try_from(count).unwrap_or(u16::MAX));
        Stripes { count, data: data.max(1).into(), copies_on_device }
    }

    /// The kernel's sizes.
    fn of_kernel(&self) -> Limits {
        Limits {
            total_rw_bytes: self.total_bytes(),
            nodesize: self.nodesize,
            array_room: SYSTEM_CHUNK_ARRAY_SIZE,
            chunk_size: None,
            alignment: STRIPE_ALIGNMENT,
        }
    }

    /// The kernel's sizes for data. What is estimated has what it needs, and the other chunks are no larger than those of
    /// btrfs-progs.
    pub(super) fn limits(&self, kind: ChunkKind) -> Limits {
        let kernel = self.of_kernel();
        // A tenth of the filesystem is no bound for what is known to come: its extents would be cut.
        let exactly = |bytes: u64, most: u64| {
            let chunk_size = bytes.checked_next_multiple_of(MIB).unwrap_or(most).clamp(MIB, most.max(MIB));
            Limits { total_rw_bytes: u64::MAX, chunk_size: Some(chunk_size), alignment: MIB, ..kernel }
        };
        let Expected { is_known, metadata, data, step, .. } = self.expected;
        match kind {
            // A file that becomes as large as its content is not to have much that is never used.
            ChunkKind::System => {
                let most = match self.metadata {
                    _ if self.grows() => 4 * MIB,
                    Profile::Single => 3 * MIB,
                    _ => 8 * MIB * self.stripes().data,
                };
                let bytes = (kernel.total_rw_bytes / 128).clamp(MIB, most).max(self.least_system());
                Limits { chunk_size: Some(bytes), alignment: MIB, ..kernel }
            }
            ChunkKind::Metadata if !self.mixed && is_known => {
                let more = || self.length_of(kind) / STEPS;
                let bytes = if metadata > 0 { metadata } else { more().max(self.writable_metadata()) };
                exactly(bytes, kernel.wanted(self.flags(kind), Profile::Single))
            }
            ChunkKind::Metadata if !self.mixed => {
                let chunk_size = Some(self.first_metadata());
                Limits { total_rw_bytes: u64::MAX, chunk_size, alignment: STRIPE_LEN, ..kernel }
            }
            ChunkKind::Metadata | ChunkKind::Data => match step {
                Some(step) => exactly(step, MAX_STRIPE),
                None if data > 0 => exactly(data, MAX_STRIPE),
                None => kernel,
            },
        }
    }
}
