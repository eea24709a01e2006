//! Lists all files below a directory of an image, or prints the contents of one file.
//!   list-files IMAGE [PATH]

use std::io::Write;
use std::path::Path;

use rbtrfs::files::{FileKind, Files, Start};
use rbtrfs::image::Image;
use rbtrfs::volume::Volume;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let image = arguments.next().ok_or("list-files IMAGE [PATH]")?;
    let path = arguments.next().unwrap_or_default();
    let volume = Volume::open(vec![Image::open(Path::new(&image))?])?;
    let files = Files::open(&volume, Start::Default)?;
    let node = files.lookup(path.as_encoded_bytes())?;
    let mut out = std::io::stdout().lock();
    if files.attributes(node)?.kind() == FileKind::File {
        std::io::copy(&mut files.file(node)?, &mut out)?;
        return Ok(());
    }
    for entry in files.walk(node) {
        out.write_all(&entry?.path)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}
