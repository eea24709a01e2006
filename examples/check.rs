//! Checks the filesystem whose devices are given, and prints what is wrong with it.

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
    let options =
        Options { threads: 2, memory: 1 << 28, progress: &progress, count_qgroups: false, check_data_csum: false };
    let report = check(&volume, &options)?;
    for problem in &report.problems {
        println!("{}: {}: {problem}", problem.severity(), problem.code());
    }
    println!("{} blocks, {} problems", report.totals.blocks, report.problems.len());
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
