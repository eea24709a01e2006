//! `rbtrfs extract`

mod report;
mod roots;

use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{ArgMatches, Args as _, FromArgMatches, ValueEnum};

use crate::Error;
use crate::extract::{BadSectors, Glob, Options, Summary, Target, extract};
use crate::parallel::default_threads;
use crate::progress::Progress;

use super::exit::Exit;
use super::files::{FileArgs, Notices};
use super::recover::Opened;
use super::watch::{Display, watched};
use super::{interrupt, output};
use report::Report;

#[derive(Debug, clap::Args)]
struct Args {
    /// Extract into this directory, which is made if it is not there
    #[arg(short = 'C', long, value_name = "DIR", required_unless_present_any = ["tar", "roots"])]
    directory: Option<PathBuf>,

    /// Write a tar stream to this file, or to standard output for -
    #[arg(long, value_name = "FILE", conflicts_with = "directory")]
    tar: Option<PathBuf>,

    /// Leave out what has this name or path; *, **, ? and [a-z] stand for others
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<std::ffi::OsString>,

    /// Extract snapshots too; without it they come out as empty directories
    #[arg(long)]
    snapshots: bool,

    /// Go on in a directory where an earlier run has ended: pass over files of the right size and time
    #[arg(long, conflicts_with = "tar")]
    resume: bool,

    /// What becomes of sectors whose checksum is wrong on all copies
    #[arg(long, value_name = "WHAT", default_value = "zero")]
    bad_sectors: Sectors,

    /// Whether ranges that files share are shared in the directory, where its filesystem can do that
    #[arg(long, value_name = "WHEN", default_value = "auto", conflicts_with = "tar")]
    reflink: Reflink,

    /// Write what is missing or not as it was to this file, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// List the roots that backup roots and a search of all metadata offer for --tree-root, and extract nothing
    #[arg(long, conflicts_with_all = ["directory", "tar", "paths", "report"])]
    roots: bool,

    /// Print the roots as one JSON document
    #[arg(long, requires = "roots")]
    json: bool,

    /// Number of threads; as many as there are processors by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Tell each second how far the work has come, where there is no terminal for a bar
    #[arg(long)]
    progress: bool,

    #[command(flatten)]
    files: FileArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sectors {
    /// They are zeroes
    Zero,
    /// They are what some copy has
    Keep,
    /// Their files are left out
    SkipFile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reflink {
    /// Where that can be done
    Auto,
    /// Never
    Never,
}

pub fn parser() -> clap::Command {
    let command =
        clap::Command::new("extract").about("Bring files to a directory or into a tar stream, without a mount");
    Args::augment_args(command)
}

pub fn manual() -> String {
    include_str!("extract.manual").to_owned()
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let progress = Progress::new(interrupt::flag()?);
    let display = Display::choose(args.progress, args.files.images.quiet);
    let threads = args.threads.map_or_else(default_threads, usize::from);
    if args.roots {
        let out = output::stdout()?;
        let volume = args.files.open_volume(program)?;
        let roots = watched(display, &progress, || roots::find(&volume, threads, &progress))?;
        roots::print(&roots, args.json, out)?;
        return Ok(Exit::Done);
    }
    for path in [&args.tar, &args.report].into_iter().flatten() {
        refuse_image(path, &args.files.images.images)?;
    }
    let stdout = if args.tar.as_deref() == Some(Path::new("-")) { Some(output::stdout()?) } else { None };
    let Opened { volume, doubts } = args.files.open_for_all(program, threads, &progress, display)?;
    let notices = Notices::new(program, args.files.images.quiet);
    let files = args.files.open(&volume, &notices)?;
    if volume.superblock().log_root.get() != 0 && !args.files.images.quiet {
        let what = "there is a log that was not replayed: what programs synced after the last commit is not seen";
        output::warning(program, &what);
    }
    let report = Report::new(program, args.report.as_deref())?;
    let options = Options {
        paths: args.files.paths().map(<[u8]>::to_vec).collect(),
        exclude: args.exclude.iter().map(|glob| Glob::new(glob.as_bytes())).collect(),
        snapshots: args.snapshots,
        bad_sectors: match args.bad_sectors {
            Sectors::Zero => BadSectors::Zero,
            Sectors::Keep => BadSectors::Keep,
            Sectors::SkipFile => BadSectors::SkipFile,
        },
        resume: args.resume,
        reflink: args.reflink == Reflink::Auto,
        doubts,
        threads,
        progress: &progress,
        on_problem: Box::new(|problem| report.add(&problem)),
    };
    let target = match (&args.directory, &args.tar, stdout) {
        (Some(directory), ..) => Target::Directory(directory),
        (None, _, Some(stdout)) => Target::Tar(Box::new(stdout)),
        (None, Some(path), None) => {
            let file = File::create(path).map_err(|source| Error::Target { path: path.clone(), source })?;
            Target::Tar(Box::new(file))
        }
        (None, None, None) => bail!("neither --directory nor --tar is given"),
    };
    let extracted = watched(display, &progress, || extract(&files, target, &options));
    drop(options);
    report.end(extracted.as_ref().ok())?;
    let summary = match extracted {
        Err(Error::Interrupted) if args.directory.is_some() => {
            return Err(Error::Interrupted).context("--resume goes on from here");
        }
        extracted => extracted?,
    };
    let told = match args.tar.as_deref() == Some(Path::new("-")) {
        _ if args.files.images.quiet => Ok(()),
        // Standard output is the stream.
        true => tell(program, &summary, &mut std::io::stderr()),
        false => output::stdout().and_then(|mut out| tell(program, &summary, &mut out)),
    };
    // That is said by the exit code whether a reader is there or not.
    if summary.problems > 0 {
        return Ok(Exit::Problems);
    }
    told.map_err(Error::Output)?;
    Ok(Exit::Done)
}

/// Fails if a file that is to be written is one of the images.
fn refuse_image(path: &Path, images: &[PathBuf]) -> anyhow::Result<()> {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let own = identity(path);
    if own.is_some() && images.iter().any(|image| identity(image) == own) {
        bail!("{}: is one of the images", path.display());
    }
    Ok(())
}

/// What came of it, for people.
fn tell(program: &str, summary: &Summary, out: &mut dyn Write) -> std::io::Result<()> {
    let Summary { files, directories, bytes, problems, .. } = summary;
    writeln!(out, "{files} files and {directories} directories, {bytes} bytes of data")?;
    if summary.passed_over > 0 {
        writeln!(out, "{} files were there already", summary.passed_over)?;
    }
    if summary.shared_bytes > 0 {
        writeln!(out, "{} bytes are shared", summary.shared_bytes)?;
    }
    if *problems > 0 {
        writeln!(out, "{problems} things are missing or not as they were")?;
    }
    for path in &summary.snapshots_left_out {
        let what = format_args!("snapshot {} is left out (--snapshots extracts it)", path.escape_ascii());
        output::warning(program, &what);
    }
    if summary.owners_left_out {
        output::warning(program, &"owners, and attributes that only root may set, are not kept");
    }
    if summary.sockets_left_out > 0 {
        let what = format_args!("{} sockets are left out: a tar stream has none", summary.sockets_left_out);
        output::warning(program, &what);
    }
    if summary.properties_left_out > 0 {
        let what = format_args!("{} properties of btrfs are left out", summary.properties_left_out);
        output::warning(program, &what);
    }
    Ok(())
}
