//! How full a filesystem is, as a table for people.

use std::collections::BTreeMap;

use anstyle::{AnsiColor, Style};
use indicatif::HumanBytes;

use crate::disk::BlockGroupFlags;
use crate::disk::flags::block_group;
use crate::dump::chunks::{ChunkEntry, ChunkList, DeviceMap, RangeState};

use super::color::{self, Palette};
use super::columns::{Columns, Side};

/// What chunks of a type and a profile take together.
#[derive(Default)]
struct Sum {
    chunks: u64,
    size: u64,
    /// Nothing if that of a chunk is not known.
    used: Option<u64>,
    on_disk: u64,
}

/// The table: by type and profile, chunk by chunk, and by device.
pub fn text(list: &ChunkList, palette: Palette) -> String {
    let tables = [sums(list, palette), chunks(list, palette), devices(list, palette)];
    let mut text = tables.join("\n");
    for disagreement in &list.disagreements {
        let chunk = disagreement.logical.map(|logical| format!("chunk {logical} ")).unwrap_or_default();
        let label = palette.paint(color::ERROR, "disagreement:");
        text += &format!("{label} {chunk}{}\n", disagreement.problem);
    }
    text
}

fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

fn used_of(used: Option<u64>, size: u64) -> [String; 2] {
    match used {
        None => ["unknown".to_owned(), String::new()],
        Some(used) => [bytes(used), format!("{:.2}%", used as f64 / size.max(1) as f64 * 100.0)],
    }
}

fn style_of(kind: BlockGroupFlags) -> Style {
    let color = match (kind.contains(block_group::DATA), kind.contains(block_group::METADATA)) {
        (true, true) => AnsiColor::Magenta,
        (true, false) => AnsiColor::Green,
        (false, true) => AnsiColor::Blue,
        (false, false) => AnsiColor::Yellow,
    };
    color.on_default()
}

fn on_disk(chunk: &ChunkEntry) -> u64 {
    chunk.stripes.iter().fold(0, |sum, stripe| sum.saturating_add(stripe.length))
}

fn sums(list: &ChunkList, palette: Palette) -> String {
    let mut sums: BTreeMap<(&str, &str), (BlockGroupFlags, Sum)> = BTreeMap::new();
    let mut all = Sum { used: Some(0), ..Sum::default() };
    for chunk in &list.chunks {
        let empty = (chunk.r#type, Sum { used: Some(0), ..Sum::default() });
        let (_, sum) = sums.entry((chunk.r#type.type_name(), chunk.profile)).or_insert(empty);
        for sum in [sum, &mut all] {
            sum.chunks += 1;
            sum.size = sum.size.saturating_add(chunk.length);
            sum.used = sum.used.zip(chunk.used).map(|(sum, used)| sum.saturating_add(used));
            sum.on_disk = sum.on_disk.saturating_add(on_disk(chunk));
        }
    }
    let (left, right) = (Side::Left, Side::Right);
    let headings = [
        ("TYPE", left),
        ("PROFILE", left),
        ("CHUNKS", right),
        ("SIZE", right),
        ("USED", right),
        ("USED%", right),
        ("ON DEVICES", right),
    ];
    let mut table = Columns::new(headings, color::HEADING);
    let mut row = |kind: &str, profile: &str, sum: &Sum, style| {
        let [used, percent] = used_of(sum.used, sum.size);
        let (kind, profile, chunks) = (kind.to_owned(), profile.to_owned(), sum.chunks.to_string());
        table.row([kind, profile, chunks, bytes(sum.size), used, percent, bytes(sum.on_disk)], style);
    };
    for ((kind, profile), (flags, sum)) in &sums {
        row(kind, profile, sum, style_of(*flags));
    }
    row("total", "", &all, color::HEADING);
    table.text(palette)
}

fn chunks(list: &ChunkList, palette: Palette) -> String {
    let (left, right) = (Side::Left, Side::Right);
    let headings = [
        ("CHUNK", right),
        ("TYPE", left),
        ("PROFILE", left),
        ("SIZE", right),
        ("USED", right),
        ("USED%", right),
        ("DEVICES", left),
    ];
    let mut table = Columns::new(headings, color::HEADING);
    for chunk in &list.chunks {
        let [used, percent] = used_of(chunk.used, chunk.length);
        let stripe = |stripe: &crate::dump::chunks::StripeEntry| match stripe.missing {
            true => format!("{} (missing)", stripe.devid),
            false => stripe.devid.to_string(),
        };
        let devices: Vec<String> = chunk.stripes.iter().map(stripe).collect();
        let (logical, kind) = (chunk.logical.to_string(), chunk.r#type.type_name().to_owned());
        let cells = [logical, kind, chunk.profile.to_owned(), bytes(chunk.length), used, percent, devices.join(", ")];
        table.row(cells, style_of(chunk.r#type));
    }
    table.text(palette)
}

fn devices(list: &ChunkList, palette: Palette) -> String {
    let (left, right) = (Side::Left, Side::Right);
    let headings = [("DEVICE", right), ("SIZE", right), ("ALLOCATED", right), ("UNALLOCATED", right), ("PATH", left)];
    let mut table = Columns::new(headings, color::HEADING);
    for device in &list.devices {
        let allocated = sum_of(device, RangeState::Allocated);
        // The first MiB counts as unallocated in what the kernel reports, too.
        let unallocated = device.total_bytes.map(|total| total.saturating_sub(allocated));
        let known = |number: Option<u64>| number.map_or_else(|| "unknown".to_owned(), bytes);
        let (path, style) = match &device.path {
            Some(path) => (path.clone(), Style::new()),
            None => ("missing".to_owned(), color::ERROR),
        };
        let cells = [device.devid.to_string(), known(device.total_bytes), bytes(allocated), known(unallocated), path];
        table.row(cells, style);
    }
    table.text(palette)
}

fn sum_of(device: &DeviceMap, state: RangeState) -> u64 {
    let lengths = device.ranges.iter().filter(|range| range.state == state).map(|range| range.length);
    lengths.fold(0, u64::saturating_add)
}
