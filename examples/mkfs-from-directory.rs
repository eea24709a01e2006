//! Makes a btrfs image from a directory: `mkfs-from-directory DIRECTORY IMAGE [SUBVOLUME...]`.

use std::path::PathBuf;
use std::process::ExitCode;

use rbtrfs::mkfs::source::SubvolumeRequest;
use rbtrfs::mkfs::{Builder, LocalDirectory};
use rbtrfs::progress::Progress;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(directory), Some(image)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: mkfs-from-directory DIRECTORY IMAGE [SUBVOLUME...]");
        return ExitCode::from(2);
    };
    match make(directory, image, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mkfs-from-directory: {error}");
            ExitCode::from(2)
        }
    }
}

pub fn make(
    directory: PathBuf,
    image: PathBuf,
    subvolumes: impl Iterator<Item = PathBuf>,
) -> Result<(), Box<dyn std::error::Error>> {
    let subvolume = |path| SubvolumeRequest { path, read_only: false, is_default: false };
    let builder = subvolumes.map(subvolume).fold(Builder::new().label("made by an example"), Builder::subvolume);
    // What contradicts itself is an error here, before anything is opened.
    let filesystem = builder.build([&image])?;
    let made = filesystem.make(&LocalDirectory::new(directory), &Progress::default())?;
    let (used, total) = (made.superblock.bytes_used.get(), made.superblock.total_bytes.get());
    println!("{}: {}, {used} of {total} bytes are in use", image.display(), made.superblock.fsid);
    Ok(())
}
