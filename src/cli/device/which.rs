//! Naming a device.

use anyhow::bail;

use crate::trans::Filesystem;

/// A device as it is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Devid(u64),
    /// The first that is missing.
    Missing,
}

pub fn parse(text: &str) -> Result<Which, String> {
    match text {
        "missing" => Ok(Which::Missing),
        _ => text.parse().map(Which::Devid).map_err(|_| format!("expected a number or \"missing\", not {text:?}")),
    }
}

impl Which {
    /// The number of the device.
    pub fn devid(self, fs: &Filesystem) -> anyhow::Result<u64> {
        let devid = match self {
            Self::Devid(devid) => return Ok(devid),
            Self::Missing => {
                let chunks = fs.chunks();
                let is_there = |uuid| fs.volume().devices().iter().any(|device| device.uuid() == uuid);
                chunks
                    .devices
                    .iter()
                    .map(|device| &device.item)
                    .find(|item| !is_there(item.uuid))
                    .map(|item| item.devid)
            }
        };
        match devid {
            Some(devid) => Ok(devid.get()),
            None => bail!("no device is missing"),
        }
    }
}
