//! Data extents of a new filesystem.

use crate::disk::inode::{FileExtentDisk, FileExtentItem, compression, file_extent_type};
use crate::disk::{Key, KeyType, Logical, Transid};
use crate::error::{Error, Result};
use crate::image::Origin;
use crate::rebuild::DataRange;
use zerocopy::IntoBytes;

use super::maker::{GENERATION, Maker, TreeWriter};

/// A data extent that a file is to have.
#[derive(Clone, Copy, Debug)]
pub struct NewExtent {
    /// Number of the inode.
    pub inode: u64,
    /// Where in the file it begins.
    pub offset: u64,
    /// Bytes that it has on the devices, at least and at most: multiples of the sector size.
    pub least: u64,
    /// Bytes on the devices at the most.
    pub most: u64,
    /// How it is compressed, and how many bytes of the file it holds then.
    pub compressed: Option<(u8, u64)>,
}

/// A data extent that has its place, its item and its reference. Its data is yet to come.
#[derive(Debug)]
pub struct OpenExtent {
    range: DataRange,
    compressed: Option<(u8, u64)>,
    /// Bytes that were given their places.
    placed: u64,
}

impl OpenExtent {
    /// Address and length.
    pub fn range(&self) -> DataRange {
        self.range
    }

    /// Bytes that have no place yet.
    pub fn left(&self) -> u64 {
        self.range.length - self.placed
    }
}

/// Bytes of an extent that are yet to be written. To write them takes this away: no byte is written twice.
#[derive(Debug)]
#[must_use]
pub struct PlacedData {
    logical: Logical,
    length: u64,
}

impl PlacedData {
    /// Number of bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Takes what follows at once; returns what does not.
    pub fn join(&mut self, next: PlacedData) -> Option<PlacedData> {
        if self.logical.checked_add(self.length) != Some(next.logical) {
            return Some(next);
        }
        self.length += next.length;
        None
    }
}

/// The item of an extent of `num_bytes` of a file: a hole, or all of `disk`'s address and length.
pub fn file_extent(
    generation: Transid,
    num_bytes: u64,
    compression: u8,
    disk: Option<(Logical, u64)>,
) -> (FileExtentItem, FileExtentDisk) {
    let mut extent = FileExtentItem::zeroed();
    extent.generation = generation.0.into();
    extent.ram_bytes = num_bytes.into();
    extent.compression = compression;
    extent.r#type = file_extent_type::REG;
    let mut on_disk = FileExtentDisk::zeroed();
    on_disk.num_bytes = num_bytes.into();
    if let Some((logical, length)) = disk {
        (on_disk.disk_bytenr, on_disk.disk_num_bytes) = (logical.0.into(), length.into());
    }
    (extent, on_disk)
}

impl TreeWriter<'_, '_> {
    /// Makes a data extent of a file: takes its space, behind that of all extents before, and adds the file extent item and
    /// the reference. Keys ascend, as those of [`TreeWriter::push`]. The data follows by [`Maker::place_data`].
    ///
    /// # Errors
    /// No space.
    pub fn add_extent(&mut self, new: &NewExtent) -> Result<OpenExtent> {
        let (start, length) = self.maker().allocate_data(new.least, new.most)?;
        let range = DataRange { start, length, generation: GENERATION };
        let extent = OpenExtent { range, compressed: new.compressed, placed: 0 };
        self.maker().add_owner(range, self.id());
        self.share_extent(new.inode, new.offset, &extent)?;
        Ok(extent)
    }

    /// Has a file, from `offset` on, refer to an extent that was made for this or another file: adds the file extent item and
    /// the reference.
    ///
    /// # Errors
    /// A key that is not above those before it.
    pub fn share_extent(&mut self, inode: u64, offset: u64, extent: &OpenExtent) -> Result<()> {
        let DataRange { start, length, .. } = extent.range;
        let (compression, num_bytes) = extent.compressed.unwrap_or((compression::NONE, length));
        let (item, disk) = file_extent(GENERATION, num_bytes, compression, Some((start, length)));
        let key = Key::new(inode, KeyType::EXTENT_DATA, offset);
        self.push(key, &[item.as_bytes(), disk.as_bytes()].concat())?;
        self.maker().add_reference(extent.range, self.id(), inode, offset);
        Ok(())
    }
}

impl Maker<'_> {
    /// Gives the next `length` bytes of an extent, a multiple of the sector size, their place, and records their checksums,
    /// unless the file has none. Extents are placed in the order in which they were made.
    ///
    /// # Errors
    /// More bytes than the extent has left, and not one checksum for each sector.
    pub fn place_data(&self, extent: &mut OpenExtent, length: u64, csums: Option<&[u8]>) -> Result<PlacedData> {
        let sectorsize = u64::from(self.options().sectorsize);
        if length > extent.left() || !length.is_multiple_of(sectorsize) {
            let problem = format!("{length} bytes have no place in an extent with {} left", extent.left());
            return Err(Error::Internal { problem });
        }
        let logical = Logical(extent.range.start.0 + extent.placed);
        if let Some(csums) = csums {
            let expected = length / sectorsize * self.options().csum_type.size() as u64;
            if csums.len() as u64 != expected {
                let problem = format!("{length} bytes of data have {} bytes of checksums, not {expected}", csums.len());
                return Err(Error::Internal { problem });
            }
            self.add_csums(logical, csums)?;
        }
        extent.placed += length;
        Ok(PlacedData { logical, length })
    }

    /// Writes data to its place, on as many threads as there are. With parity it should come about in the order of addresses:
    /// rows stay in memory until they are full. If the data stands in a file, too, from `origin` on, blocks of the file are
    /// shared where they are whole.
    ///
    /// # Errors
    /// A write that fails, and another number of bytes than was placed.
    pub fn write_data(&self, placed: PlacedData, bytes: &[u8], origin: Option<Origin<'_>>) -> Result<()> {
        if bytes.len() as u64 != placed.length {
            let problem = format!("{} bytes of data are written where {} were placed", bytes.len(), placed.length);
            return Err(Error::Internal { problem });
        }
        self.write_at(placed.logical, bytes, origin)
    }
}
