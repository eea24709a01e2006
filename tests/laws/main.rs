//! Laws that every command keeps, each stated once.

mod hints;
mod schemas;
mod setup;
#[path = "../support/mod.rs"]
mod support;
mod texts;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;
use support::staged::change_with_undo;
use support::{PROGRAM, Run, Scratch, run_rbtrfs};

/// A command that takes the devices of a filesystem.
struct Law {
    /// With the options that it needs. `FILE` stands for an undo file of the images.
    command: &'static str,
    /// The exit code of work that cannot be done.
    failure: i32,
    /// Whether it changes the filesystem.
    changes: bool,
    /// The schema of what it prints with `--json`.
    schema: Option<&'static str>,
}

/// Two devices of one filesystem, which has an empty chunk more than it needs.
fn images(scratch: &Scratch) -> Vec<PathBuf> {
    let images = vec![scratch.path("a.img"), scratch.path("b.img")];
    let run = run_rbtrfs("mkfs --quiet --byte-count 512M --data raid1 --metadata raid1", &images);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = run_rbtrfs("chunk-alloc --type data --size 64M", &images);
    assert_eq!(run.code, 0, "{}", run.stderr);
    images
}

fn undo_file(scratch: &Scratch) -> PathBuf {
    scratch.path("undo-file")
}

/// Contents and time of the last change.
fn state(images: &[PathBuf]) -> Vec<(Vec<u8>, SystemTime)> {
    let state = |path: &PathBuf| (std::fs::read(path).unwrap(), path.metadata().unwrap().modified().unwrap());
    images.iter().map(state).collect()
}

impl Law {
    /// The command without options.
    fn name(&self) -> &'static str {
        self.command.split(' ').next().unwrap()
    }

    /// What the command takes: two devices of one filesystem, and an undo file where it needs one.
    fn images(&self, scratch: &Scratch) -> Vec<PathBuf> {
        let images = images(scratch);
        if self.command.ends_with(" FILE") {
            change_with_undo(&images, &undo_file(scratch));
        }
        images
    }

    fn words(&self, scratch: &Scratch) -> Vec<String> {
        self.command.replace("FILE", undo_file(scratch).to_str().unwrap()).split(' ').map(str::to_owned).collect()
    }

    fn run(&self, options: &str, images: &[PathBuf], scratch: &Scratch) -> Run {
        run_rbtrfs(&format!("{} {options}", self.words(scratch).join(" ")), images)
    }

    /// The work could not be done: that is told, and nothing else is printed.
    fn assert_failed(&self, run: &Run, what: &str) {
        let told = run.stderr.lines().count();
        assert!(run.stderr.starts_with(&format!("rbtrfs {}: ", self.name())), "{what}: {}", run.stderr);
        assert_eq!(
            (run.code, run.stdout.as_str(), told),
            (self.failure, "", 1),
            "{}: {what}: {}",
            self.command,
            run.stderr
        );
    }

    fn wrong_arguments_are_told_and_change_nothing(&self) {
        let scratch = Scratch::in_memory();
        let images = self.images(&scratch);
        let before = state(&images);
        for (options, images) in [("--no-such-option", images.as_slice()), ("", &[])] {
            let run = self.run(options, images, &scratch);
            assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{} {options}", self.command);
            assert!(run.stderr.contains("Usage:"), "{} {options}: {}", self.command, run.stderr);
        }
        assert!(state(&images) == before, "{}", self.command);
    }

    fn what_is_no_filesystem_is_refused_in_one_line_that_names_it(&self) {
        let scratch = Scratch::in_memory();
        self.images(&scratch);
        let directory = scratch.new_directory();
        for path in [scratch.path("nowhere"), scratch.zeros("empty", 0), scratch.zeros("zeros", 1 << 20), directory] {
            let run = self.run("", std::slice::from_ref(&path), &scratch);
            self.assert_failed(&run, "no filesystem");
            assert!(run.stderr.contains(path.to_str().unwrap()), "{}: {}", self.command, run.stderr);
        }
    }

    /// Reading goes on without the device, a change does not.
    fn a_missing_device_is_told(&self) {
        let scratch = Scratch::in_memory();
        let images = self.images(&scratch);
        let before = state(&images);
        for image in &images {
            let run = self.run("", std::slice::from_ref(image), &scratch);
            assert!(run.says(&["device", "missing", "give all 2 images"]), "{}: {}", self.command, run.stderr);
            if self.changes {
                self.assert_failed(&run, "a missing device");
            } else {
                assert_eq!(run.code, 0, "{}: {}", self.command, run.stderr);
            }
        }
        assert!(state(&images) == before, "{}", self.command);
    }

    /// Neither reading nor a dry run changes an image, nor its time.
    fn what_is_not_to_be_changed_stays_as_it_is(&self) {
        let scratch = Scratch::in_memory();
        let images = self.images(&scratch);
        let before = state(&images);
        let run = self.run(if self.changes { "--dry-run" } else { "" }, &images, &scratch);
        assert_eq!(run.code, 0, "{}: {}", self.command, run.stderr);
        assert!(state(&images) == before, "{}", self.command);
    }

    /// A reader that has seen enough is no failure. After a change it is told that the change is made.
    fn a_closed_pipe_is_no_failure_of_the_work(&self) {
        let scratch = Scratch::in_memory();
        // Nobody reads from before the program starts: one that is fast would else have written by then.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output =
            Command::new(PROGRAM).args(self.words(&scratch)).args(self.images(&scratch)).stdout(writer).output();
        let run = Run::of(output.unwrap());
        if self.changes {
            assert_eq!(run.code, 3, "{}: {}", self.command, run.stderr);
            assert!(run.says(&["the change is on the disk"]), "{}: {}", self.command, run.stderr);
        } else {
            assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", self.command);
        }
    }

    /// Output that has no room is a failure. After a change it is one of its own: the change is made.
    fn a_full_output_is_a_failure(&self) {
        let scratch = Scratch::in_memory();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Command::new(PROGRAM).args(self.words(&scratch)).args(self.images(&scratch)).stdout(full).output();
        let run = Run::of(output.unwrap());
        let code = if self.changes { 3 } else { self.failure };
        assert_eq!(run.code, code, "{}: {}", self.command, run.stderr);
        assert!(run.says(&["No space left on device"]), "{}: {}", self.command, run.stderr);
    }

    /// What goes nowhere is not printed, as what has no room.
    fn a_closed_output_is_a_failure(&self) {
        let scratch = Scratch::in_memory();
        let script = "exec \"$0\" \"$@\" >&-";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, PROGRAM]).args(self.words(&scratch)).args(self.images(&scratch));
        let run = Run::of(shell.output().unwrap());
        let code = if self.changes { 3 } else { self.failure };
        assert_eq!(run.code, code, "{}: {}", self.command, run.stderr);
        assert!(run.says(&["Bad file descriptor"]), "{}: {}", self.command, run.stderr);
        let run = Run::of(Command::new("sh").args(["-c", script, PROGRAM, self.name(), "--help"]).output().unwrap());
        assert!(run.code == 2 && run.says(&["Bad file descriptor"]), "{}: {}", self.command, run.stderr);
    }

    fn help_and_version_are_printed_or_fail(&self) {
        let version = concat!(" ", env!("CARGO_PKG_VERSION"), "\n");
        for (option, start, end) in [
            ("-V", format!("rbtrfs {}", self.name()), version),
            ("--version", format!("rbtrfs {}", self.name()), version),
            ("--help", String::new(), "\n"),
        ] {
            let run = Run::of(Command::new(PROGRAM).args([self.name(), option]).output().unwrap());
            assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{} {option}", self.name());
            assert!(run.stdout.starts_with(&start) && run.stdout.ends_with(end), "{option}: {}", run.stdout);
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let run = Run::of(Command::new(PROGRAM).args([self.name(), option]).stdout(full).output().unwrap());
            assert!(run.code == 2 && run.says(&["No space left on device"]), "{option}: {}", run.stderr);
        }
    }

    /// Under each of its names.
    fn a_program_names_itself_as_it_was_called(&self) {
        let scratch = Scratch::in_memory();
        let name = format!("rbtrfs-{}", self.name());
        let link = scratch.path(&name);
        std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
        let words = self.words(&scratch);
        let options = &words[1..];
        let run = Run::of(Command::new(&link).args(options).arg(scratch.path("nowhere")).output().unwrap());
        assert!(run.stderr.starts_with(&format!("{name}: ")), "{}", run.stderr);
        let run = Run::of(Command::new(&link).arg("--no-such-option").output().unwrap());
        assert!(run.says(&[&format!("Usage: {name} ")]), "{}", run.stderr);
    }

    fn json_is_one_document_of_its_schema(&self) {
        let Some(schema) = self.schema else { return };
        let scratch = Scratch::in_memory();
        let run = self.run("--json", &self.images(&scratch), &scratch);
        let document: Value =
            serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{}: {error}", self.command));
        assert_eq!((run.code, document["schema"].as_str()), (0, Some(schema)), "{}: {}", self.command, run.stderr);
    }

    /// The manual names what the command takes.
    fn the_manual_has_each_option(&self) {
        let name = self.name();
        let help = run_rbtrfs(&format!("{name} --help"), &[]);
        assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{name}");
        let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("man/rbtrfs-{name}.8"));
        let manual = std::fs::read_to_string(manual).unwrap().replace("\\-", "-");
        let words =
            help.stdout.split([' ', ',', '\n', '=', '[']).filter(|word| word.starts_with("--") && word.len() > 2);
        let missing: Vec<&str> = words.filter(|word| !manual.contains(word.trim_end_matches(['.', ')']))).collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
    }
}

macro_rules! laws {
    ($($name:ident: $law:expr;)*) => {$(
        mod $name {
            use super::Law;
            const LAW: Law = $law;
            laws!(@each
                wrong_arguments_are_told_and_change_nothing
                what_is_no_filesystem_is_refused_in_one_line_that_names_it
                a_missing_device_is_told
                what_is_not_to_be_changed_stays_as_it_is
                a_closed_pipe_is_no_failure_of_the_work
                a_full_output_is_a_failure
                a_closed_output_is_a_failure
                help_and_version_are_printed_or_fail
                a_program_names_itself_as_it_was_called
                json_is_one_document_of_its_schema
                the_manual_has_each_option
            );
        }
    )*};
    (@each $($law:ident)*) => {$(
        #[test]
        fn $law() {
            LAW.$law();
        }
    )*};
}

laws! {
    check: Law { command: "check", failure: 2, changes: false, schema: Some("rbtrfs.check/1") };
    check_data: Law { command: "check --check-data-csum", failure: 2, changes: false, schema: Some("rbtrfs.check/1") };
    fsck: Law { command: "fsck -n", failure: 8, changes: false, schema: None };
    dump_tree: Law { command: "dump-tree", failure: 2, changes: false, schema: Some("rbtrfs.dump-tree/1") };
    ls: Law { command: "ls -d", failure: 2, changes: false, schema: Some("rbtrfs.ls/1") };
    ls_subvolumes: Law {
        command: "ls --subvolumes",
        failure: 2,
        changes: false,
        schema: Some("rbtrfs.ls-subvolumes/1"),
    };
    extract: Law { command: "extract --tar -", failure: 2, changes: false, schema: None };
    extract_roots: Law {
        command: "extract --roots",
        failure: 2,
        changes: false,
        schema: Some("rbtrfs.extract-roots/1"),
    };
    list_chunks: Law { command: "list-chunks", failure: 2, changes: false, schema: Some("rbtrfs.list-chunks/1") };
    chunk_alloc: Law {
        command: "chunk-alloc --type data",
        failure: 2,
        changes: true,
        schema: Some("rbtrfs.chunk-alloc/1"),
    };
    chunk_remove: Law {
        command: "chunk-remove --unused",
        failure: 2,
        changes: true,
        schema: Some("rbtrfs.chunk-remove/1"),
    };
    balance: Law { command: "balance --full", failure: 2, changes: true, schema: Some("rbtrfs.balance/1") };
    device_list: Law { command: "device list", failure: 2, changes: false, schema: Some("rbtrfs.device-list/1") };
    device_stats: Law {
        command: "device stats --reset",
        failure: 2,
        changes: true,
        schema: Some("rbtrfs.device-stats/1"),
    };
    resize: Law { command: "resize --devid 1 -16M", failure: 2, changes: true, schema: Some("rbtrfs.resize/1") };
    tune: Law { command: "tune --seed on", failure: 2, changes: true, schema: Some("rbtrfs.tune/1") };
    undo: Law { command: "undo FILE", failure: 2, changes: true, schema: Some("rbtrfs.undo/1") };
}
