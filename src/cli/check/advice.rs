//! What a person does next about what was found.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::disk::objectid;
use crate::finding::{Finding, Severity};
use crate::problem::{BlockProblem, Harm, Problem};
use crate::repair::cause_of;
use crate::tree::TreeRoot;
use crate::volume::{Notice, RootChoice, Volume};

use super::super::open::Images;
use super::super::words::{command, quoted};

/// A step, and the commands that do it.
pub struct Step {
    pub text: String,
    pub commands: Vec<String>,
}

impl Step {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), commands: Vec::new() }
    }

    fn with(text: impl Into<String>, command: String) -> Self {
        Self { text: text.into(), commands: vec![command] }
    }
}

/// The steps, in their order; none where nothing is wrong that matters. `roots` are the options that chose where the filesystem
/// is begun.
pub fn steps(images: &Images, roots: &[String], volume: &Volume, problems: &[Problem]) -> Vec<Step> {
    let Some(worst) = problems.iter().map(Problem::harm).min().filter(|harm| *harm < Harm::Harmless) else {
        return Vec::new();
    };
    let mut steps = Vec::new();
    if lacks_devices(volume) {
        let devices = volume.superblock().num_devices;
        steps.push(Step::new(format!(
            "Give all {devices} images: what the others tell of a missing device is not sure."
        )));
    }
    if let Some(cause) = cause_of(problems) {
        steps.push(Step::new(format!("Likely cause: {cause}.")));
    }
    if problems.iter().any(is_of_memory) {
        steps.push(Step::new(
            "Test the memory (memtest86+): a block has a right checksum and wrong contents, so it was wrong before it was written, \
             as bits that flip in memory make it.",
        ));
    }
    if worst <= Harm::Redundancy {
        let text = "Copy the disk first, and work on the copy where you can:".to_owned();
        steps.push(Step { text, commands: images.images.iter().map(|image| copy_of(image)).collect() });
    }
    // A root on a device that is missing is not lost.
    let other = if roots.is_empty() && !lacks_devices(volume) { other_roots(images, problems) } else { None };
    let options = match &other {
        Some(Other::Readable(options)) => {
            let text = "The root is lost, and another one can be read: check what it leads to.";
            steps.push(Step::with(text, command("check", &[options], &images.images)));
            vec![*options]
        }
        Some(Other::Unknown) => {
            let text = "The root is lost, and so are the backup roots. An extraction and a repair look for what can take its place; \
                        this lists all roots that are found, for --tree-root.";
            steps.push(Step::with(text, command("extract --roots", &[], &images.images)));
            Vec::new()
        }
        None => roots.iter().map(String::as_str).collect(),
    };
    if worst <= Harm::Files {
        steps.push(files_of(&options, &images.images));
    }
    let text = "See what a repair would do and what would be left; without --dry-run it does it, --undo FILE keeps a way back.";
    steps.push(Step::with(text, command("check --repair --dry-run", &options, &images.images)));
    steps
}

/// How the files come out of the filesystem on `images`.
pub fn files_of(options: &[&str], images: &[PathBuf]) -> Step {
    let text =
        "Get the files out: that reads what can be read, writes nothing to the images and lists what is missing.";
    Step::with(text, command("extract -C FILES", options, images))
}

/// Whether not all devices are there. The chunk tree names those that are missing, if it can be read.
fn lacks_devices(volume: &Volume) -> bool {
    let is_missing = |notice: &Notice| matches!(notice, Notice::MissingDevice { .. });
    let devices = volume.devices().len() as u64;
    volume.notices().iter().any(is_missing) || devices < volume.superblock().num_devices.get()
}

/// Contents that make no sense in a block whose checksum is right.
fn is_of_memory(problem: &Problem) -> bool {
    matches!(problem, Problem::Item(_)) && problem.severity() >= Severity::Error
}

fn copy_of(image: &Path) -> String {
    let name = quoted(image);
    if image.metadata().is_ok_and(|metadata| metadata.file_type().is_block_device()) {
        return format!("ddrescue {name} COPY.img COPY.map");
    }
    let mut copy = image.as_os_str().to_owned();
    copy.push(".copy");
    format!("cp --sparse=always --reflink=auto {name} {}", quoted(Path::new(&copy)))
}

/// Where the filesystem can be begun to be read instead of at a root that is lost.
enum Other {
    /// With these options.
    Readable(&'static str),
    Unknown,
}

/// Looks for another root, if one is lost. Without any root of the chunk tree an extraction and a repair look for one.
fn other_roots(images: &Images, problems: &[Problem]) -> Option<Other> {
    let lost = problems.iter().find_map(|problem| match problem {
        Problem::Block(BlockProblem::OtherRoots { tree, .. }) => Some(*tree),
        _ => None,
    })?;
    let choices = [
        ("-b", RootChoice { backup: true, ..RootChoice::default() }),
        ("-s 1", RootChoice { mirror: Some(1), ..RootChoice::default() }),
        ("-s 2", RootChoice { mirror: Some(2), ..RootChoice::default() }),
    ];
    let is_readable = |choice: &RootChoice| images.open_silently(choice).is_ok_and(|volume| has_root_tree(&volume));
    let found = choices.iter().find(|(_, choice)| is_readable(choice));
    let found = found.map(|(options, _)| Other::Readable(options));
    found.or((lost == objectid::ROOT_TREE).then_some(Other::Unknown))
}

fn has_root_tree(volume: &Volume) -> bool {
    let (root, mut buffer) = (TreeRoot::root_tree(volume), Vec::new());
    volume.read_block(&root.expected(), &mut buffer).is_ok()
}
