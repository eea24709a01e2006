//! Pictures of layouts.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::anyhow;

use crate::dump::svg::{Panel, draw};

/// Writes a picture to a new file: what stands behind `--svg` by mistake may be an image.
pub fn save(path: &Path, title: &str, panels: &[Panel<'_>]) -> anyhow::Result<()> {
    let written = File::create_new(path).and_then(|mut file| file.write_all(draw(title, panels).as_bytes()));
    written.map_err(|error| anyhow!("{}: {error}", path.display()))
}
