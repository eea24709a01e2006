//! Why an undo file cannot be used on some images.

use std::path::PathBuf;

use crate::disk::Physical;
use crate::disk::fields::Uuid;

/// What is wrong with an undo file, or with the images that it is to be used on. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UndoProblem {
    /// The file begins with something else.
    #[error("is not an undo file")]
    NotUndoFile,
    /// The file is of a format that this version does not know.
    #[error("is an undo file of version {have}, this program reads version {known}")]
    Version {
        /// Version of the file.
        have: u32,
        /// The version that is known.
        known: u32,
    },
    /// The file ends before its end mark.
    #[error("is an undo file that was cut short")]
    Cut,
    /// What stands in the file contradicts its checksums, or itself.
    #[error("is an undo file that is damaged at offset {offset}")]
    Damaged {
        /// First byte of the record in the file.
        offset: u64,
    },
    /// The image of a device was not given.
    #[error("device {devid} ({uuid}) is missing: give all {devices} images")]
    MissingDevice {
        /// Number of the device.
        devid: u64,
        /// Uuid of the device.
        uuid: Uuid,
        /// Number of devices in the file.
        devices: usize,
    },
    /// An image is not that of a device in the file.
    #[error("{} is none of the devices that it is for, or has changed since", image.display())]
    Foreign {
        /// Path of the image.
        image: PathBuf,
    },
    /// An image is smaller than it was.
    #[error("{} has {have} bytes, and had {expect} when the file was written", image.display())]
    Size {
        /// Path of the image.
        image: PathBuf,
        /// Bytes of the image.
        have: u64,
        /// Bytes that it had.
        expect: u64,
    },
    /// An image holds neither what was there before the change nor what was written then.
    #[error("{} has changed since at offset {offset}, and what is there now would be lost", image.display())]
    Changed {
        /// Path of the image.
        image: PathBuf,
        /// First byte that is neither.
        offset: Physical,
    },
}
