//! Undoing a repair: the bytes of an undo file come back to the images.
//!
//! A run that is cut anywhere can be made again with the same file, for each sector of a range holds its old bytes or the new
//! ones, and both are known. Beyond that, the filesystem that is found after a cut is that of before the repair or that of after
//! it, as far as either was whole: **while any copy of the superblock may lead to a state, all blocks of that state are there.** A
//! repair writes where the state before it has nothing. So the superblocks of that state may come back at once; the blocks
//! of the repair are overwritten only when no superblock leads to them any more. Of the superblocks of a device the primary comes
//! first: where it is torn, its mirrors still lead to the repaired state, and that is whole. A file that undoes an undo brings
//! blocks back that superblocks in it lead to: those come last ([`Order`]).

use std::path::{Path, PathBuf};

use crate::disk::Physical;
use crate::disk::fields::Uuid;
use crate::error::{Error, Result, UndoProblem};
use crate::image::Image;
use crate::progress::Progress;
use crate::volume::{read_copies, run_on_each};

use super::undo_file::{Order, Part, Saved, UndoFile, with_new_file};

/// How to undo.
#[derive(Clone, Copy, Debug)]
pub struct UndoOptions<'a> {
    /// A file to be made, which undoes what is done here.
    pub redo: Option<&'a Path>,
    /// Verify all, and write nothing.
    pub dry_run: bool,
    /// Stops the work until the first byte of an image is written.
    pub progress: &'a Progress,
}

/// What was put back on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutBack {
    /// Number of the device.
    pub devid: u64,
    /// Its uuid.
    pub uuid: Uuid,
    /// Ranges that held something else.
    pub ranges: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that the change wrote where the disk could not be read. They stay.
    pub unreadable: u64,
}

/// Puts what `file` holds back on `images`, which are all devices that it is for, in any order. Returns what that is, for each
/// device in the order of the file.
///
/// All of the file and all that would be overwritten are read before anything is written: each sector has to hold what it held
/// before or after the change that is undone.
///
/// # Errors
/// Nothing was written: a file that cannot be used, images that are in use, missing, others or changed since
/// ([`Error::Undo`]), a redo file that cannot be made, [`Error::Interrupted`]. Or [`Error::PartlyUndone`]: the same call may be
/// made again, without the redo file or with another one.
pub fn undo(file: &Path, images: &[PathBuf], options: &UndoOptions<'_>) -> Result<Vec<PutBack>> {
    let progress = options.progress;
    let file = UndoFile::open(file)?;
    let images = assigned(&file, images)?;
    let due = verify(&file, &images, progress)?;
    if options.dry_run || due.iter().all(|device| device.ranges == 0) {
        return Ok(due);
    }
    if let Some(redo) = options.redo {
        save(&file, &images, redo, progress)?;
    }
    go_on(progress)?;
    progress.begin("putting back", file.bytes);
    // A write that fails may have been done in part.
    put_back(&file, &images, progress).map_err(|error| Error::PartlyUndone(Box::new(error)))?;
    Ok(due)
}

fn go_on(progress: &Progress) -> Result<()> {
    if progress.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
}

/// The images by the indexes of their devices. All that may be written are held.
fn assigned(file: &UndoFile, paths: &[PathBuf]) -> Result<Vec<Image>> {
    let mut devices: Vec<Option<Image>> = file.devices.iter().map(|_| None).collect();
    let mut unknown = Vec::new();
    // Before they are locked: an image that is named twice would be found in use by itself.
    for path in paths {
        let image = Image::open_unmapped(path)?;
        let Some(device) = device_of(file, &image) else {
            unknown.push(path);
            continue;
        };
        if let Some(twin) = &devices[device] {
            let (first, second) = (twin.path().to_owned(), path.clone());
            return Err(Error::Unrelated { first, second, problem: "the same device twice" });
        }
        devices[device] = Some(image);
    }
    for (device, image) in devices.iter_mut().enumerate() {
        if let Some(image) = image.as_mut().filter(|_| file.ranges[device] > 0) {
            *image = Image::open_for_writing(image.path())?;
        }
    }
    // Where no superblock tells any more, as after a crash that tore the only one, the contents do.
    for path in unknown {
        let image = Image::open_for_writing(path)?;
        let mut fitting = Vec::new();
        for device in (0..devices.len()).filter(|device| devices[*device].is_none() && file.ranges[*device] > 0) {
            if fits(file, device, &image)? {
                fitting.push(device);
            }
        }
        match fitting[..] {
            [device] => devices[device] = Some(image),
            _ => return Err(file.error(UndoProblem::Foreign { image: path.clone() })),
        }
    }
    let count = devices.len();
    let present = devices.into_iter().zip(&file.devices).map(|(image, device)| {
        let (devid, uuid) = (device.devid.get(), device.uuid);
        image.ok_or_else(|| file.error(UndoProblem::MissingDevice { devid, uuid, devices: count }))
    });
    present.collect()
}

/// The device that the superblocks on an image are of.
fn device_of(file: &UndoFile, image: &Image) -> Option<usize> {
    let copies = read_copies(image).unwrap_or_default();
    let intact = copies.iter().map(|copy| &copy.superblock).filter(|superblock| superblock.is_intact());
    let own = intact.map(|superblock| (superblock.fsid, superblock.dev_item.uuid));
    own.into_iter().find_map(|own| file.devices.iter().position(|device| (device.fsid, device.uuid) == own))
}

/// Whether all ranges of a device hold on this image what they may.
fn fits(file: &UndoFile, device: usize, image: &Image) -> Result<bool> {
    let mut now = Vec::new();
    let verified = file
        .for_each(|place| place.device == device && place.is_saved, |saved| verify_range(file, saved, image, &mut now));
    match verified {
        Ok(()) => Ok(true),
        Err(Error::Undo { problem: UndoProblem::Changed { .. } | UndoProblem::Size { .. }, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads what a range holds now, which has to be what it held before or after the change.
fn verify_range(file: &UndoFile, saved: &Saved<'_>, image: &Image, now: &mut Vec<u8>) -> Result<()> {
    let (have, expect) = (image.size(), file.devices[saved.place.device].size.get());
    if have < expect {
        return Err(file.error(UndoProblem::Size { image: image.path().to_owned(), have, expect }));
    }
    now.resize(saved.place.length, 0);
    image.read(saved.place.offset, now)?;
    match saved.first_changed(now) {
        Some(offset) => Err(file.error(UndoProblem::Changed { image: image.path().to_owned(), offset })),
        None => Ok(()),
    }
}

/// What is to be put back on each device.
fn verify(file: &UndoFile, images: &[Image], progress: &Progress) -> Result<Vec<PutBack>> {
    progress.begin("comparing", file.bytes);
    let none = file.devices.iter().map(|device| PutBack {
        devid: device.devid.get(),
        uuid: device.uuid,
        ranges: 0,
        bytes: 0,
        unreadable: 0,
    });
    let mut due: Vec<PutBack> = none.collect();
    let mut now = Vec::new();
    file.for_each(
        |_| true,
        |saved| {
            go_on(progress)?;
            let place = saved.place;
            progress.add(place.length as u64);
            if !place.is_saved {
                due[place.device].unreadable += place.length as u64;
                return Ok(());
            }
            verify_range(file, saved, &images[place.device], &mut now)?;
            if now != saved.old {
                due[place.device].ranges += 1;
                due[place.device].bytes += place.length as u64;
            }
            Ok(())
        },
    )?;
    Ok(due)
}

/// Saves what is overwritten by an undo.
fn save(file: &UndoFile, images: &[Image], redo: &Path, progress: &Progress) -> Result<()> {
    progress.begin("saving", file.bytes);
    with_new_file(redo, file.order.reversed(), &file.devices, |writer| {
        let mut now = Vec::new();
        file.for_each(
            |place| place.is_saved,
            |saved| {
                go_on(progress)?;
                let place = saved.place;
                read(&images[place.device], place.offset, place.length, &mut now)?;
                progress.add(place.length as u64);
                if now == saved.old {
                    return Ok(());
                }
                writer.add(place.device, place.offset, &now, saved.old)
            },
        )?;
        go_on(progress)
    })
}

fn read(image: &Image, offset: Physical, length: usize, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.resize(length, 0);
    image.read(offset, buffer)
}

/// Writes the old bytes, in steps that are on the disks one after the other.
fn put_back(file: &UndoFile, images: &[Image], progress: &Progress) -> Result<()> {
    let steps = match file.order {
        Order::SuperblocksFirst => [Part::Primary, Part::Mirror, Part::Other],
        Order::SuperblocksLast => [Part::Other, Part::Primary, Part::Mirror],
    };
    let written = || images.iter().zip(&file.ranges).filter(|(_, ranges)| **ranges > 0).map(|(image, _)| image);
    let mut now = Vec::new();
    for step in steps {
        file.for_each(
            |place| place.part == step && place.is_saved,
            |saved| {
                let place = saved.place;
                let image = &images[place.device];
                read(image, place.offset, place.length, &mut now)?;
                if now != saved.old {
                    image.write(place.offset, saved.old)?;
                }
                progress.add(place.length as u64);
                Ok(())
            },
        )?;
        run_on_each(written(), Image::sync)?;
    }
    Ok(())
}
