//! What was made, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::disk::fields::Uuid;
use crate::disk::flags::block_group;
use crate::disk::{BlockGroupFlags, Profile};
use crate::mkfs::features::{Quotas, names};
use crate::mkfs::{Made, Options};

use super::super::document::Document;
use super::super::output;
use super::rootdir::SubvolumeRecord;

/// Names of the types of block groups as people and as programs read them.
const TYPES: [(u64, &str, &str); 4] = [
    (block_group::DATA, "Data", "data"),
    (block_group::METADATA, "Metadata", "metadata"),
    (block_group::DATA | block_group::METADATA, "Data+Metadata", "data+metadata"),
    (block_group::SYSTEM, "System", "system"),
];

/// Profile and bytes of the chunks of each type, with its names.
fn totals(made: &Made) -> impl Iterator<Item = (&'static str, &'static str, Profile, u64)> {
    let mut totals: BTreeMap<u64, (Profile, u64)> = BTreeMap::new();
    for group in &made.layout.groups {
        let flags: BlockGroupFlags = group.chunk.flags;
        let (_, bytes) = totals.entry(flags.type_bits()).or_insert((group.chunk.profile, 0));
        *bytes += group.chunk.length;
    }
    TYPES.into_iter().filter_map(move |(bits, title, name)| {
        let (profile, bytes) = totals.get(&bits)?;
        Some((title, name, *profile, *bytes))
    })
}

fn feature_names(made: &Made) -> Vec<&'static str> {
    let options: &Options = &made.options;
    let chosen = names(made.superblock.incompat_flags.get(), made.superblock.compat_ro_flags.get());
    chosen.chain((options.quotas == Some(Quotas::Full)).then_some("quota")).collect()
}

/// Bytes with two digits behind the point, as btrfs-progs prints them.
fn pretty(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = (bytes.max(1).ilog2() / 10) as usize;
    format!("{:.2}{}", bytes as f64 / (1_u64 << (10 * unit)) as f64, UNITS[unit])
}

pub fn text(made: &Made, paths: &[PathBuf]) -> String {
    let (options, superblock) = (&made.options, &made.superblock);
    let label = String::from_utf8_lossy(superblock.label());
    let label = if label.is_empty() { "(null)".into() } else { label };
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:<20}{value}", format!("{name}:"));
    };
    line("Label", &label);
    line("UUID", &superblock.fsid);
    line("Node size", &options.nodesize);
    line("Sector size", &options.sectorsize);
    line("Filesystem size", &pretty(superblock.total_bytes.get()));
    text += "Block group profiles:\n";
    for (title, _, profile, bytes) in totals(made) {
        let _ = writeln!(text, "  {:<18}{:<8} {:>16}", format!("{title}:"), profile.name(), pretty(bytes));
    }
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{:<20}{value}", format!("{name}:"));
    };
    line("Features", &feature_names(made).join(", "));
    line("Checksum", &options.csum_type.name());
    line("Number of devices", &made.layout.devices.len());
    text += "Devices:\n   ID        SIZE  PATH\n";
    for (device, path) in made.layout.devices.iter().zip(paths) {
        let _ = writeln!(text, "  {:>3}  {:>10}  {}", device.devid, pretty(device.size), path.display());
    }
    text += "\n";
    text
}

#[derive(Serialize)]
struct MadeRecord {
    schema: &'static str,
    label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label_bytes: Option<Vec<u8>>,
    fsid: Uuid,
    nodesize: u32,
    sectorsize: u32,
    total_bytes: u64,
    bytes_used: u64,
    block_groups: Vec<BlockGroups>,
    features: Vec<&'static str>,
    csum_type: &'static str,
    devices: Vec<DeviceRecord>,
    subvolumes: Vec<SubvolumeRecord>,
}

#[derive(Serialize)]
struct BlockGroups {
    r#type: &'static str,
    profile: &'static str,
    bytes: u64,
}

#[derive(Serialize)]
struct DeviceRecord {
    devid: u64,
    uuid: Uuid,
    path: String,
    total_bytes: u64,
}

pub fn json(made: &Made, paths: &[PathBuf], subvolumes: Vec<SubvolumeRecord>) -> anyhow::Result<()> {
    let (options, superblock) = (&made.options, &made.superblock);
    let label = String::from_utf8_lossy(superblock.label()).into_owned();
    let is_text = label.as_bytes() == superblock.label();
    let groups =
        totals(made).map(|(_, name, profile, bytes)| BlockGroups { r#type: name, profile: profile.name(), bytes });
    let devices = made.layout.devices.iter().zip(paths).map(|(device, path)| DeviceRecord {
        devid: device.devid,
        uuid: device.uuid,
        path: path.display().to_string(),
        total_bytes: device.size,
    });
    let document = MadeRecord {
        schema: "rbtrfs.mkfs/1",
        label,
        label_bytes: (!is_text).then(|| superblock.label().to_vec()),
        fsid: superblock.fsid,
        nodesize: options.nodesize,
        sectorsize: options.sectorsize,
        total_bytes: superblock.total_bytes.get(),
        bytes_used: superblock.bytes_used.get(),
        block_groups: groups.collect(),
        features: feature_names(made),
        csum_type: options.csum_type.name(),
        devices: devices.collect(),
        subvolumes,
    };
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    Ok(Document::new(output::stdout()?).write_all(&text)?)
}

#[cfg(test)]
mod tests {
    use super::pretty;

    #[test]
    fn sizes_are_printed_as_btrfs_progs_prints_them() {
        let sizes = [0, 1023, 1024, 117_440_512, 1 << 30, 10 << 40, u64::MAX];
        let texts = ["0.00B", "1023.00B", "1.00KiB", "112.00MiB", "1.00GiB", "10.00TiB", "16.00EiB"];
        assert_eq!(sizes.map(pretty), texts);
    }
}
