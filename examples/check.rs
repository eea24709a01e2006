//! Checks a filesystem, given by its devices, and prints each problem.

use std::path::Path;
use std::process::ExitCode;

use rbtrfs::check::{Options, check};
use rbtrfs::finding::Finding;
use rbtrfs::image::Image;
use rbtrfs::progress::Progress;
use rbtrfs::volume::Volume;

fn main() -> Result<ExitCode, rbtrfs::Error> {
    let images = std::env::args_os().skip(1).map(|path| Image::open(Path::new(&path)));
    let volume = Volume::open(images.collect::<Result<_, _>>()?)?;
    let progress = Progress::default();
    let report = check(&volume, &Options::new(&progress))?;
    for problem in &report.problems {
        println!("{}: {}: {problem}", problem.severity(), problem.code());
    }
    println!("{} blocks, {} problems", report.totals.blocks, report.problems.len());
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
