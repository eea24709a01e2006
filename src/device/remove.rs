//! Removing a device.

use crate::chunk::{begin_to_free, finish, items_of_chunk, with_system};
use crate::disk::volume::DevItem;
use crate::error::{Error, Result};
use crate::relocate::Options;
use crate::trans::{Chunks, Filesystem, Handle, device_key};
use crate::tree::reservation::to_change_item;

use super::leave::leave;
use super::stripes::Shifted;
use super::totals::{delete_stats, update_totals};

/// Why a device stays.
pub fn refusal(fs: &Filesystem, devid: u64) -> Option<Error> {
    refusal_in(fs, &fs.chunks(), devid)
}

fn refusal_in(fs: &Filesystem, chunks: &Chunks, devid: u64) -> Option<Error> {
    let device = match chunks.device(devid) {
        Ok(device) => device,
        Err(error) => return Some(error),
    };
    if device.is_writable && chunks.rw_devices().take(2).count() < 2 {
        return Some(Error::LastDevice { devid });
    }
    // New chunks of these profiles could not be made, wherever the present ones went.
    let left = chunks.devices.len() - 1;
    let needs_more = |devices: u16| usize::from(devices) > left;
    let profiles: Vec<_> = fs.space().groups().filter_map(|group| group.flags.profile()).collect();
    if let Some(profile) = profiles.into_iter().max_by_key(|profile| profile.geometry().devs_min)
        && needs_more(profile.geometry().devs_min)
    {
        let geometry = profile.geometry();
        return Some(Error::TooFewDevices { devid, profile: geometry.name, devices: geometry.devs_min });
    }
    let stays = |logical| !chunks.removed.contains(&logical);
    let stripes = chunks.map.iter().filter(|chunk| stays(chunk.logical)).map(|chunk| {
        let count = chunk.stripes.iter().filter(|stripe| stripe.devid == devid).count();
        chunk.stripe_size().saturating_mul(count as u64)
    });
    let (count, bytes) = stripes
        .filter(|bytes| *bytes > 0)
        .fold((0, 0_u64), |(count, sum), bytes| (count + 1, sum.saturating_add(bytes)));
    (count > 0 || device.item.bytes_used.get() > 0).then_some(Error::DeviceInUse { devid, chunks: count, bytes })
}

/// Removes a device that has no chunks, which may be missing. The commit wipes its superblocks once the filesystem without
/// it is sure; a seed stays as it is.
///
/// # Errors
/// There is no such device, it has chunks, it is the last that can be written, or a profile needs it.
pub fn remove(fs: &Filesystem, devid: u64) -> Result<()> {
    // In one step: between the two a chunk could come onto it, or another one could go and leave this one the last.
    let was_writable = {
        let mut chunks = fs.chunks();
        if let Some(error) = refusal_in(fs, &chunks, devid) {
            return Err(error);
        }
        set_writable(&mut chunks, devid, false)
    };
    let removed = begin_to_free(fs, items_of_chunk(fs) + 1).and_then(|mut handle| {
        let removed = delete(&mut handle, devid);
        finish(handle)?;
        removed
    });
    // A caller that found it so already does not know whether it is to stay so.
    if removed.is_err() && was_writable {
        set_writable(&mut fs.chunks(), devid, true);
    }
    removed
}

/// Returns what was before.
fn set_writable(chunks: &mut Chunks, devid: u64, is_writable: bool) -> bool {
    chunks.device_mut(devid).is_some_and(|device| std::mem::replace(&mut device.is_writable, is_writable))
}

fn delete(handle: &mut Handle<'_>, devid: u64) -> Result<()> {
    let fs = handle.fs;
    let mut device_tree = fs.device_tree();
    let mut chunks = fs.chunks();
    // Again: another thread that tried the same meanwhile, and failed, has let chunks be allocated on it.
    if let Some(error) = refusal_in(fs, &chunks, devid) {
        return Err(error);
    }
    let item = chunks.device(devid)?.item;
    let bytes = to_change_item(fs.volume().format().nodesize);
    with_system(handle, &mut chunks, bytes, |chunks| chunks.tree.edit(fs, |editor| editor.delete(device_key(devid))))?;
    update_totals(&mut chunks, -1, item.total_bytes.get(), 0);
    let removed = chunks.devices.extract_if(.., |device| device.item.devid.get() == devid);
    // One that came in this transaction was never written.
    let committed: Vec<DevItem> = removed.filter(|device| device.image.is_none()).map(|device| device.item).collect();
    chunks.removed_devices.extend(committed);
    drop(chunks);
    delete_stats(fs, &mut device_tree, devid)
}

/// Removes a device, which may be missing, after all that lies on it has moved to others.
///
/// # Errors
/// As those of [`remove`] and [`leave`]. `shifted` says what was committed.
pub fn remove_used(mut fs: Filesystem, devid: u64, options: &Options<'_>, shifted: &mut Shifted) -> Result<Filesystem> {
    if let Some(error) = refusal(&fs, devid).filter(|error| !matches!(error, Error::DeviceInUse { .. })) {
        return Err(error);
    }
    fs = leave(fs, devid, 0, options, shifted)?;
    remove(&fs, devid)?;
    fs.commit()?;
    shifted.moved.transactions += 1;
    Ok(fs)
}
