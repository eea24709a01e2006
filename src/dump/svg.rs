//! Layouts drawn as SVG: a row for each device, a box for each stripe, to scale. Browsers show it without scripts, light or dark
//! as they are set, and the facts of a box where the pointer rests on it.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use crate::disk::Profile;

use super::chunks::{Range, RangeState};
use super::layout::{Layout, LayoutChunk, LayoutDevice};

/// A layout with a line above it, such as "before".
#[derive(Clone, Copy, Debug)]
pub struct Panel<'l> {
    /// Empty for a picture of one layout.
    pub caption: &'l str,
    /// What is drawn.
    pub layout: &'l Layout,
}

/// Units of the picture that the largest device takes.
const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 16.0;
const LINE: f64 = 18.0;
const BOX: f64 = 46.0;
/// A legend entry takes so much.
const ENTRY: f64 = 168.0;
/// About the width of a letter in a box.
const LETTER: f64 = 6.2;

/// The picture as a document.
pub fn draw(title: &str, panels: &[Panel<'_>]) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_document(&mut out, title, panels);
    out
}

/// What a box shows: type and profile of a chunk.
type Kind = (&'static str, &'static str);

fn kind(chunk: &LayoutChunk) -> Kind {
    (chunk.r#type.type_name(), chunk.profile)
}

/// The class of a kind in the style sheet.
fn class((type_name, profile): Kind) -> String {
    format!("{}-{}", type_name.replace('+', "-"), profile.to_ascii_lowercase())
}

/// A type has a part of the circle of hues, and its profiles stand next to each other there, of three degrees of light.
fn colour((type_name, profile): Kind) -> (usize, usize) {
    let first = match type_name {
        "data" => 190,
        "metadata" => 84,
        "system" => 4,
        _ => 276,
    };
    let index = Profile::ALL.iter().position(|known| known.name() == profile).unwrap_or_default();
    (first + index * 8, [36, 49, 61][index % 3])
}

fn write_document(out: &mut String, title: &str, panels: &[Panel<'_>]) -> fmt::Result {
    let kinds: BTreeSet<Kind> = panels.iter().flat_map(|panel| panel.layout.chunks.iter().map(kind)).collect();
    let largest = panels.iter().flat_map(|panel| &panel.layout.devices).map(end_of).max().unwrap_or_default().max(1);
    let rows: usize = panels.iter().map(|panel| panel.layout.devices.len()).sum();
    let captions = panels.iter().filter(|panel| !panel.caption.is_empty()).count();
    let in_a_line = (WIDTH / ENTRY) as usize;
    let legend_lines = (kinds.len() + 3).div_ceil(in_a_line);
    let height = 2.0 * MARGIN
        + LINE * (1 + legend_lines) as f64
        + rows as f64 * (BOX + 2.0 * LINE)
        + captions as f64 * 2.0 * LINE;
    let width = WIDTH + 2.0 * MARGIN;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" font-family=\"sans-serif\" font-size=\"12\">"
    )?;
    writeln!(out, "<title>{}</title>", Escaped(title))?;
    write_style(out, &kinds)?;
    writeln!(out, "<rect class=\"page\" width=\"{width}\" height=\"{height}\"/>")?;
    let mut y = MARGIN + LINE;
    text(out, MARGIN, y, "heading", title)?;
    write_legend(out, &kinds, &mut y, in_a_line)?;
    for panel in panels {
        if !panel.caption.is_empty() {
            y += 2.0 * LINE;
            text(out, MARGIN, y, "heading", panel.caption)?;
        }
        for device in &panel.layout.devices {
            write_device(out, panel.layout, device, WIDTH / largest as f64, &mut y)?;
        }
    }
    writeln!(out, "</svg>")
}

fn write_style(out: &mut String, kinds: &BTreeSet<Kind>) -> fmt::Result {
    writeln!(out, "<style>")?;
    writeln!(out, ".page{{fill:#fff}} text{{fill:#1b1f24}} .heading{{font-weight:bold}} .quiet{{fill:#5d6670}}")?;
    writeln!(
        out,
        ".label{{fill:#fff;stroke:#1b1f24;stroke-opacity:.7;stroke-width:2;paint-order:stroke;font-size:10px}} .frame{{fill-opacity:.28;stroke:#fff;stroke-width:.6}}"
    )?;
    writeln!(out, ".free{{fill:#eef0f3;stroke:#c3c9d1;stroke-width:.6}} .reserved{{fill:#9aa3ad}}")?;
    for kind in kinds {
        let (hue, lightness) = colour(*kind);
        writeln!(out, ".{}{{fill:hsl({hue},62%,{lightness}%)}}", class(*kind))?;
    }
    writeln!(out, "@media (prefers-color-scheme:dark){{")?;
    writeln!(out, ".page{{fill:#15181c}} text{{fill:#e4e8ec}} .quiet{{fill:#9aa3ad}}")?;
    writeln!(
        out,
        ".frame{{fill-opacity:.38;stroke:#15181c}} .free{{fill:#22272d;stroke:#3b424a}} .reserved{{fill:#6a737d}}"
    )?;
    writeln!(out, "}}")?;
    writeln!(out, "</style>")
}

fn write_legend(out: &mut String, kinds: &BTreeSet<Kind>, y: &mut f64, in_a_line: usize) -> fmt::Result {
    let of_kinds = kinds.iter().map(|kind| (class(*kind), format!("{} {}", kind.0, kind.1)));
    let others = [("free", "free"), ("reserved", "reserved"), ("frame reserved", "pale: allocated, not in use")];
    let entries = of_kinds.chain(others.map(|(class, name)| (class.to_owned(), name.to_owned())));
    for (number, (class, name)) in entries.enumerate() {
        let column = number % in_a_line;
        if column == 0 {
            *y += LINE;
        }
        let x = MARGIN + column as f64 * ENTRY;
        writeln!(out, "<rect class=\"{class}\" x=\"{x}\" y=\"{:.2}\" width=\"12\" height=\"12\"/>", *y - 10.0)?;
        text(out, x + 18.0, *y, "quiet", &name)?;
    }
    Ok(())
}

fn write_device(out: &mut String, layout: &Layout, device: &LayoutDevice, scale: f64, y: &mut f64) -> fmt::Result {
    *y += 1.5 * LINE;
    let allocated: u64 =
        device.ranges.iter().filter(|range| range.state == RangeState::Allocated).map(|range| range.length).sum();
    let line = match (&device.path, device.total_bytes) {
        (Some(path), Some(total)) => {
            format!("device {}: {path}, {}, {} allocated", device.devid, Size(total), Size(allocated))
        }
        _ => format!("device {}: missing, {} allocated", device.devid, Size(allocated)),
    };
    text(out, MARGIN, *y, "quiet", &line)?;
    let top = *y + 0.5 * LINE;
    for range in &device.ranges {
        write_range(out, layout, device, range, scale, top)?;
    }
    *y = top + BOX;
    Ok(())
}

fn write_range(
    out: &mut String,
    layout: &Layout,
    device: &LayoutDevice,
    range: &Range,
    scale: f64,
    top: f64,
) -> fmt::Result {
    let (x, width) = (MARGIN + range.offset.0 as f64 * scale, range.length as f64 * scale);
    let place = format!("device {} offset {} length {}", device.devid, range.offset, range.length);
    let numbers =
        format!("data-devid=\"{}\" data-offset=\"{}\" data-length=\"{}\"", device.devid, range.offset, range.length);
    let rect = |class: &str, width: f64| {
        format!("<rect class=\"{class}\" x=\"{x:.4}\" y=\"{top:.2}\" width=\"{width:.4}\" height=\"{BOX}\"/>")
    };
    let Some(logical) = range.chunk else {
        let state = if range.state == RangeState::Reserved { "reserved" } else { "free" };
        let title = format!("{state}, {}\n{place}", Size(range.length));
        let title = Escaped(&title);
        return writeln!(out, "<g data-state=\"{state}\" {numbers}><title>{title}</title>{}</g>", rect(state, width));
    };
    let Some(chunk) = layout.chunk(logical) else { return Ok(()) };
    let class = class(kind(chunk));
    let used = match chunk.used {
        Some(used) => format!("{} of {} used ({}%)", Size(used), Size(chunk.length), percent(used, chunk.length)),
        None => format!("{}, use unknown", Size(chunk.length)),
    };
    let title = format!(
        "{} {}, {used}\nchunk {logical} length {}\n{place}",
        chunk.r#type.type_name(),
        chunk.profile,
        chunk.length
    );
    let used = chunk.used.map_or(String::new(), |used| used.to_string());
    let share = chunk.used.map_or(0.0, |used| used.min(chunk.length) as f64 / chunk.length.max(1) as f64);
    write!(
        out,
        "<g data-state=\"allocated\" {numbers} data-chunk=\"{logical}\" data-used=\"{used}\"><title>{}</title>{}{}",
        Escaped(&title),
        rect(&format!("frame {class}"), width),
        rect(&class, width * share)
    )?;
    let label = format!("{} {}", chunk.r#type.type_name(), chunk.profile);
    if label.len() as f64 * LETTER < width {
        let middle = top + BOX / 2.0 + 4.0;
        write!(out, "<text class=\"label\" x=\"{:.2}\" y=\"{middle:.2}\">{}</text>", x + 4.0, Escaped(&label))?;
    }
    writeln!(out, "</g>")
}

fn end_of(device: &LayoutDevice) -> u64 {
    let end = device.ranges.iter().map(|range| range.offset.0.saturating_add(range.length)).max();
    end.unwrap_or_default().max(device.total_bytes.unwrap_or_default())
}

fn percent(part: u64, whole: u64) -> u64 {
    (u128::from(part) * 100 / u128::from(whole.max(1))).try_into().unwrap_or(u64::MAX)
}

fn text(out: &mut String, x: f64, y: f64, class: &str, text: &str) -> fmt::Result {
    writeln!(out, "<text class=\"{class}\" x=\"{x}\" y=\"{y:.2}\">{}</text>", Escaped(text))
}

/// Bytes in the largest unit of which there is at least one.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let power = (self.0.max(1).ilog2() / 10) as usize;
        match power.checked_sub(1).and_then(|index| UNITS.get(index)) {
            None => write!(f, "{} B", self.0),
            Some(unit) => write!(f, "{:.2} {unit}", self.0 as f64 / (1_u64 << (10 * power)) as f64),
        }
    }
}

/// Text in a document. What XML cannot hold stands as a replacement character.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\n' | '\t' => f.write_char(char)?,
                '\u{fffe}' | '\u{ffff}' => f.write_char(char::REPLACEMENT_CHARACTER)?,
                other if other.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
