//! What the commands that change devices have in common.

use std::io::Write;

use serde::Serialize;

use crate::device::Shifted;
use crate::disk::fields::Uuid;
use crate::error::{BalanceProblem, Error};
use crate::trans::Filesystem;
use crate::volume::Device;

use super::change::Images;
use super::exit::Exit;
use super::moved::{self, Job, MovedRecord};
use super::words::{HumanBytes, counted, exact_bytes};
use super::{document, output};

// How blocks are moved. A documentation comment would be taken for that of the command.
#[derive(Debug, clap::Args)]
pub struct Moving {
    /// Number of threads; as many as there are processors by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Print progress once a second where there is no terminal
    #[arg(short, long)]
    progress: bool,
}

impl Moving {
    pub fn job(&self, quiet: bool) -> std::io::Result<Job> {
        Job::new(self.threads, self.progress, quiet)
    }
}

/// A device that came, went or changed.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceRecord {
    pub devid: u64,
    pub uuid: Uuid,
    pub path: Option<String>,
    pub total_bytes: u64,
}

impl DeviceRecord {
    /// The device as the last commit has it.
    pub fn of(fs: &Filesystem, devid: u64) -> crate::Result<Self> {
        let item = fs.chunks().device(devid)?.item;
        let device = fs.volume().devices().iter().find(|device| device.uuid() == item.uuid);
        let path = |device: &Device| device.image().path().display().to_string();
        Ok(Self { devid, uuid: item.uuid, path: device.map(path), total_bytes: item.total_bytes.get() })
    }

    fn text(&self) -> String {
        let Self { devid, path, total_bytes, .. } = self;
        format!("device {devid} ({}), {}", path.as_deref().unwrap_or("missing"), exact_bytes(*total_bytes))
    }
}

/// What a command did, or would do.
pub struct Changed<'c> {
    pub schema: &'static str,
    /// How it calls that: done, and planned.
    pub verbs: [&'static str; 2],
    pub devices: Vec<DeviceRecord>,
    pub shifted: &'c Shifted,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    dry_run: bool,
    devices: &'a [DeviceRecord],
    stripes_moved: u64,
    stripe_bytes: u64,
    moved: MovedRecord,
}

impl Changed<'_> {
    pub fn tell(&self, images: &Images) -> anyhow::Result<()> {
        let mut out = output::stdout()?;
        let Self { schema, verbs: [done, planned], devices, shifted } = self;
        if images.json {
            let document = Document {
                schema,
                dry_run: images.dry_run,
                devices,
                stripes_moved: shifted.stripes,
                stripe_bytes: shifted.bytes,
                moved: MovedRecord::new(&shifted.moved),
            };
            document::write(&mut out, &document)?;
        } else if !images.quiet {
            let verb = if images.dry_run { planned } else { done };
            let mut text: String = devices.iter().map(|device| format!("{verb} {}\n", device.text())).collect();
            text += &self.text_of_moves(images.dry_run);
            out.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    fn text_of_moves(&self, is_dry_run: bool) -> String {
        let Shifted { stripes, bytes, moved } = self.shifted;
        let mut text = String::new();
        let places = counted(*stripes, "stripe");
        if *stripes > 0 && is_dry_run {
            text += &format!("would move {places} to other places\n");
        } else if *stripes > 0 {
            text += &format!("moved {places} to other places and copied {}\n", HumanBytes(*bytes));
        }
        match moved.data_bytes + moved.tree_blocks {
            0 => text + &moved::text_of_damage(moved),
            _ if is_dry_run => {
                let (data, blocks) = (HumanBytes(moved.data_bytes), counted(moved.tree_blocks, "tree block"));
                text + &format!("would move {data} of data and write {blocks}\n")
            }
            _ => text + &moved::text(moved),
        }
    }
}

/// Refuses what a balance of the kernel would come in the way of.
pub fn refuse_balance(fs: &Filesystem) -> crate::Result<()> {
    match fs.balance_item()? {
        Some(item) => {
            let balance = crate::balance::Balance::of_item(&item)?.to_string();
            Err(Error::from(BalanceProblem::Paused { balance }))
        }
        None => Ok(()),
    }
}

/// Says how the work ended. Of a dry run nothing is on the disk. `tell` is told whether the devices themselves were changed: what
/// failed on the way may have moved stripes and block groups alone.
pub fn finish(
    images: &Images,
    shifted: &Shifted,
    ended: crate::Result<()>,
    tell: impl FnOnce(bool) -> anyhow::Result<()>,
) -> anyhow::Result<Exit> {
    if images.dry_run {
        ended?;
        tell(true)?;
        return Ok(Exit::Done);
    }
    let is_changed = matches!(ended, Ok(()) | Err(Error::PartlyPublished(_)));
    let tell = || tell(is_changed);
    let done = || {
        let stripes = counted(shifted.stripes, "stripe");
        format!("moved {stripes} to other places and emptied {}", moved::emptied(&shifted.moved))
    };
    moved::finish_saying(&shifted.moved, ended, done, tell)
}
