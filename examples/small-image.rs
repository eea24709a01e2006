//! Writes the small filesystem of the tests to the path given, for trying the commands without root or btrfs-progs.

#[path = "../tests/fixtures/small_image.rs"]
#[allow(dead_code)] // each user of the module uses a part of it
mod small_image;

use std::fs::File;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: small-image PATH");
        return ExitCode::from(2);
    };
    // An existing file may hold something dear to somebody.
    match File::create_new(&path).and_then(|file| small_image::write_small_image(&Default::default(), &file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("small-image: {}: {error}", path.display());
            ExitCode::from(2)
        }
    }
}
