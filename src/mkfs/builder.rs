//! Making filesystems, for others to call.

use std::path::PathBuf;

use crate::disk::fields::Uuid;
use crate::disk::{CsumType, Profile};
use crate::error::Result;
use crate::parallel::default_threads;
use crate::progress::Progress;
use crate::table::MemoryBudget;

use super::content::{Transfer, device_size, estimate, fill};
use super::estimate::Estimate;
use super::features::Features;
use super::finish::Made;
use super::maker::Maker;
use super::options::{Asked, Conflict, Options};
use super::source::{self, FlagRequest, Inventory, Request, Source, SubvolumeRequest};
use super::targets::{Preparation, Targets};

/// Bytes of memory for records, past which they go to temporary files.
const MEMORY: u64 = 128 << 20;
/// Bytes of a file that is missing and is to have no content, if nothing is said.
const DEFAULT_SIZE: u64 = 1 << 30;

/// Says what a filesystem is to be, one option after the other. What is not said has the default of the kernel's tools.
#[derive(Clone, Debug)]
pub struct Builder {
    asked: Asked,
    request: Request,
    transfer: Transfer,
    byte_count: Option<u64>,
    size: Option<u64>,
    force: bool,
    discard: bool,
    shrunk: Option<u64>,
    threads: Option<usize>,
    memory: u64,
}

impl Default for Builder {
    fn default() -> Self {
        let (asked, request, byte_count, size, force, shrunk, threads) = Default::default();
        let (transfer, discard, memory) = (Transfer::Copied, true, MEMORY);
        Self { asked, request, transfer, byte_count, size, force, discard, shrunk, threads, memory }
    }
}

impl Builder {
    /// The defaults of the kernel's tools.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of the filesystem.
    #[must_use]
    pub fn label(mut self, label: impl Into<Vec<u8>>) -> Self {
        self.asked.label = label.into();
        self
    }

    /// How data is replicated: SINGLE by default.
    #[must_use]
    pub fn data(mut self, profile: impl Into<Option<Profile>>) -> Self {
        self.asked.data = profile.into();
        self
    }

    /// How metadata is replicated: DUP by default, on several devices RAID1.
    #[must_use]
    pub fn metadata(mut self, profile: impl Into<Option<Profile>>) -> Self {
        self.asked.metadata = profile.into();
        self
    }

    /// Whether data and metadata are in the same block groups.
    #[must_use]
    pub fn mixed(mut self, mixed: bool) -> Self {
        self.asked.mixed = mixed;
        self
    }

    /// Type of all checksums: CRC-32C by default.
    #[must_use]
    pub fn csum_type(mut self, csum_type: impl Into<Option<CsumType>>) -> Self {
        self.asked.csum_type = csum_type.into();
        self
    }

    /// Bytes of a tree block.
    #[must_use]
    pub fn nodesize(mut self, nodesize: impl Into<Option<u32>>) -> Self {
        self.asked.nodesize = nodesize.into();
        self
    }

    /// Bytes of a block of data.
    #[must_use]
    pub fn sectorsize(mut self, sectorsize: impl Into<Option<u32>>) -> Self {
        self.asked.sectorsize = sectorsize.into();
        self
    }

    /// Features that are chosen by name.
    #[must_use]
    pub fn features(mut self, features: Features) -> Self {
        self.asked.features = features;
        self
    }

    /// The uuid of the filesystem, which all others follow from. With it and with [`Builder::time`] the same content makes
    /// the same bytes.
    #[must_use]
    pub fn fsid(mut self, fsid: impl Into<Option<Uuid>>) -> Self {
        self.asked.fsid = fsid.into();
        self
    }

    /// The uuid of the one device.
    #[must_use]
    pub fn device_uuid(mut self, uuid: impl Into<Option<Uuid>>) -> Self {
        self.asked.device_uuid = uuid.into();
        self
    }

    /// Seconds since 1970: when the filesystem was made. No time of a file is later then.
    #[must_use]
    pub fn time(mut self, seconds: impl Into<Option<u64>>) -> Self {
        self.asked.time = seconds.into();
        self
    }

    /// Makes a directory of the source a subvolume. Ids follow from the order of these calls.
    #[must_use]
    pub fn subvolume(mut self, subvolume: SubvolumeRequest) -> Self {
        self.request.subvolumes.push(subvolume);
        self
    }

    /// Gives a file or a directory of the source inode flags.
    #[must_use]
    pub fn inode_flags(mut self, flags: FlagRequest) -> Self {
        self.request.flags.push(flags);
        self
    }

    /// How the data of files comes into the filesystem: it is copied by default.
    #[must_use]
    pub fn transfer(mut self, transfer: Transfer) -> Self {
        self.transfer = transfer;
        self
    }

    /// Bytes of the filesystem on each device. A file is made as large.
    #[must_use]
    pub fn byte_count(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.byte_count = bytes.into();
        self
    }

    /// Bytes of an image that is missing or empty: by default 1 GiB, or what the content needs.
    #[must_use]
    pub fn size(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.size = bytes.into();
        self
    }

    /// Whether what stands on the images may be lost.
    #[must_use]
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Whether devices are told that nothing on them is needed any more: they are by default.
    #[must_use]
    pub fn discard(mut self, discard: bool) -> Self {
        self.discard = discard;
        self
    }

    /// Has the device end so many bytes behind the content.
    #[must_use]
    pub fn shrink(mut self, slack: impl Into<Option<u64>>) -> Self {
        self.shrunk = slack.into();
        self
    }

    /// How many threads read and compress: as many as the machine runs at once by default. They make no difference to what
    /// is made.
    #[must_use]
    pub fn threads(mut self, threads: impl Into<Option<usize>>) -> Self {
        self.threads = threads.into();
        self
    }

    /// Bytes of memory for what grows with the content. What has no room there goes to temporary files.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// What a filesystem on so many devices will be.
    ///
    /// # Errors
    /// Options that contradict each other, or the devices.
    pub fn options(&self, devices: usize) -> Result<Options, Conflict> {
        if devices == 0 {
            return Err(Conflict::NoImage);
        }
        if self.request.subvolumes.iter().filter(|subvolume| subvolume.is_default).count() > 1 {
            return Err(Conflict::TwoDefaults);
        }
        if self.shrunk.is_some() && devices > 1 {
            return Err(Conflict::ShrunkDevices { devices });
        }
        Options::new(self.asked.clone(), devices)
    }

    /// A filesystem on images or block devices, whose device ids count from 1 in this order. An image that is missing will be
    /// created. Nothing is opened yet.
    ///
    /// # Errors
    /// Options that contradict each other, or the number of images.
    pub fn build<P: Into<PathBuf>>(self, images: impl IntoIterator<Item = P>) -> Result<NewFilesystem, Conflict> {
        let images: Vec<PathBuf> = images.into_iter().map(Into::into).collect();
        let options = self.options(images.len())?;
        let request = Request { images: images.clone(), ..self.request.clone() };
        Ok(NewFilesystem { builder: self, options, images, request })
    }
}

/// A filesystem that is possible, and not made yet.
#[derive(Clone, Debug)]
pub struct NewFilesystem {
    builder: Builder,
    options: Options,
    images: Vec<PathBuf>,
    request: Request,
}

impl NewFilesystem {
    /// What the filesystem will be.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The images, in the order of their device ids.
    pub fn images(&self) -> &[PathBuf] {
        &self.images
    }

    /// Makes it without content. An error leaves no image that could be taken for a filesystem, and none that was not there;
    /// what stood on an image may be lost. `progress` can stop it.
    ///
    /// # Errors
    /// Images that are in use, too small, not empty, or fail.
    pub fn make_empty(&self, progress: &Progress) -> Result<Made> {
        let size = self.builder.size.unwrap_or(DEFAULT_SIZE);
        let estimate = Estimate::default();
        let preparation = self.preparation(&estimate, size, progress);
        self.make_with(&preparation, &MemoryBudget::new(self.builder.memory), |_| Ok(()))
    }

    /// Makes it with the content of a source, as [`NewFilesystem::make_empty`]. All that can be wrong with the names of the
    /// entries is found before an image is touched.
    ///
    /// # Errors
    /// As those of [`NewFilesystem::make_empty`]; and a source that cannot be read, that changes, or that holds what no btrfs
    /// can hold.
    pub fn make<S: Source>(&self, source: &S, progress: &Progress) -> Result<Made> {
        let Self { builder, options, images, request } = self;
        let threads = builder.threads.unwrap_or_else(default_threads);
        let budget = MemoryBudget::new(builder.memory);
        let how = source::Options { threads, budget: &budget, progress, sectorsize: options.sectorsize };
        let inventory = Inventory::take(source, request, how)?;
        let estimate = estimate(&inventory.totals, options, builder.transfer.method());
        let size = builder.size.unwrap_or_else(|| device_size(&estimate, options, images.len() as u64));
        let preparation = Preparation {
            grows: builder.size.is_none(),
            shared: source.directory().filter(|_| builder.transfer == Transfer::Shared),
            ..self.preparation(&estimate, size, progress)
        };
        let fill = |maker: &Maker<'_>| fill(maker, source, &inventory, builder.transfer, threads, progress);
        self.make_with(&preparation, &budget, fill)
    }

    fn preparation<'a>(&'a self, estimate: &'a Estimate, size: u64, progress: &'a Progress) -> Preparation<'a> {
        let Builder { byte_count, force, discard, .. } = self.builder;
        let (options, grows, shared) = (&self.options, false, None);
        Preparation { options, estimate, byte_count, size, grows, force, shared, discard, progress }
    }

    fn make_with(
        &self,
        preparation: &Preparation<'_>,
        budget: &MemoryBudget,
        fill: impl FnOnce(&Maker<'_>) -> Result<()>,
    ) -> Result<Made> {
        let Preparation { options, estimate, progress, .. } = preparation;
        let (targets, devices) = Targets::prepare(&self.images, preparation)?;
        let maker = Maker::new((*options).clone(), devices, estimate, budget)?;
        fill(&maker)?;
        progress.begin("trees", 0);
        let made = maker.finish(targets.order(), self.builder.shrunk, progress)?;
        targets.keep();
        Ok(made)
    }
}
