//! What commands print for programs: every document is of its schema, and an error is a document, too. The judge is Python's
//! jsonschema.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::images;
use crate::support::{PROGRAM, Run, Scratch, change, or_skip, run_rbtrfs};

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

/// Reads lines of a schema's name and a document, and prints a line for each document that is not of its schema.
const JUDGE: &str = r#"
import json, pathlib, sys
from jsonschema import Draft202012Validator as Judge
schemas = {path.stem: json.loads(path.read_text()) for path in pathlib.Path(sys.argv[1]).glob("*.json")}
for schema in schemas.values():
    Judge.check_schema(schema)
judges = {name: Judge(schema) for name, schema in schemas.items()}
for line in sys.stdin:
    name, what, document = json.loads(line)
    for error in judges[name].iter_errors(document):
        print(what, name, list(error.absolute_path), error.message[:300])
"#;

/// The documents that were printed, and by what.
#[derive(Default)]
struct Documents(Vec<(String, String, Value)>);

impl Documents {
    fn add(&mut self, what: &str, document: Value) {
        let schema = document["schema"].as_str().and_then(|name| name.strip_prefix("rbtrfs.")?.strip_suffix("/1"));
        let name = schema.unwrap_or_else(|| panic!("{what}: no schema in {document}")).to_owned();
        self.0.push((name, what.to_owned(), document));
    }

    /// Runs a command that prints a document, whatever comes of it.
    fn run(&mut self, command: &str, images: &[PathBuf]) -> Value {
        let run = run_rbtrfs(command, images);
        let document: Value = serde_json::from_str(&run.stdout)
            .unwrap_or_else(|error| panic!("{command}: {error}: {} {}", run.stdout, run.stderr));
        self.add(&format!("{command} exits with {}", run.code), document.clone());
        document
    }

    /// Runs a command that prints a document on each line.
    fn lines(&mut self, schema: &str, command: &str, images: &[PathBuf]) {
        let run = run_rbtrfs(command, images);
        let lines = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
        self.0.extend(lines.map(|line| (schema.to_owned(), command.to_owned(), line)));
    }

    /// What the judge says against them; nothing where there is no judge.
    fn judged(&self) -> Option<String> {
        let has_judge = Command::new("python3").args(["-c", "import jsonschema"]).output().unwrap().status.success();
        or_skip(if has_judge { Ok(()) } else { Err("Python has no jsonschema".to_owned()) })?;
        let mut judge = Command::new("python3")
            .args(["-c", JUDGE])
            .arg(schemas())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = judge.stdin.take().unwrap();
        let text: String = self.0.iter().map(|document| serde_json::to_string(document).unwrap() + "\n").collect();
        let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
        let output = judge.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap())
    }
}

/// Two devices with files of several kinds.
fn filled(scratch: &Scratch, name: &str) -> Vec<PathBuf> {
    let root = scratch.path(&format!("{name}-root"));
    std::fs::create_dir_all(root.join("directory")).unwrap();
    std::fs::write(root.join("directory/file"), vec![7; 300_000]).unwrap();
    std::fs::write(root.join("small"), "small").unwrap();
    std::os::unix::fs::symlink("small", root.join("link")).unwrap();
    let images = vec![scratch.path(&format!("{name}-a.img")), scratch.path(&format!("{name}-b.img"))];
    let command = format!("mkfs --quiet --byte-count 512M --data raid1 --metadata raid1 --rootdir {}", root.display());
    assert_eq!(run_rbtrfs(&command, &images).code, 0);
    images
}

/// Zeroes all copies of what data chunks hold.
fn lose_data(images: &[PathBuf]) {
    let list: Value = serde_json::from_str(&run_rbtrfs("list-chunks --json", images).stdout).unwrap();
    let is_data = |chunk: &&Value| chunk["type"] == json!(["DATA"]);
    let data = list["chunks"].as_array().unwrap().iter().filter(is_data);
    for stripe in data.flat_map(|chunk| chunk["stripes"].as_array().unwrap()) {
        let [devid, offset, length] = ["devid", "offset", "length"].map(|name| stripe[name].as_u64().unwrap());
        change(&images[devid as usize - 1], offset, length as usize, |bytes| bytes.fill(0));
    }
}

const READING: &[&str] = &[
    "check --json",
    "check --json --check-data-csum",
    "check --json --qgroup-report",
    "check --json --repair --dry-run",
    "list-chunks --json",
    "dump-super --json -a",
    "dump-tree --json",
    "dump-tree --json -R",
    "ls --json -R",
    "ls --json --subvolumes",
    "extract --json --roots",
    "device list --json",
    "device stats --json",
    "min-size --json --devid 1",
    "balance --json --full --dry-run",
    "chunk-alloc --json --type data --dry-run",
    "chunk-remove --json --unused --dry-run",
    "resize --json --devid 1 --dry-run -16M",
    "tune --json --seed on --dry-run",
];

#[test]
fn every_document_is_of_its_schema() {
    let scratch = Scratch::in_memory();
    let mut documents = Documents::default();
    let clean = filled(&scratch, "clean");
    let damaged = filled(&scratch, "damaged");
    // The second copy of all that lies there, and the first superblock.
    change(&damaged[1], 0x1_0000, 4096, |bytes| bytes.fill(0));
    change(&damaged[1], 1 << 20, 60 << 20, |bytes| bytes.fill(0));
    let lossy = filled(&scratch, "lossy");
    lose_data(&lossy);
    let zeros = vec![scratch.zeros("zeros", 1 << 20)];
    for images in [&clean[..], &damaged, &lossy, &clean[..1], &zeros] {
        for command in READING {
            documents.run(command, images);
            documents.run(&format!("{command} --json-u64-strings"), images);
        }
        documents.lines("ls-line", "ls --json-lines -R", images);
        documents.lines("dump-tree-line", "dump-tree --json-lines", images);
    }
    // On zeros these were errors.
    documents.0.retain(|(name, _, document)| !name.ends_with("-line") || document.get("schema").is_none());

    let report = scratch.path("report");
    let command = format!("extract --report {} -C {}", report.display(), scratch.path("out").display());
    assert_eq!(run_rbtrfs(&command, &lossy).code, 1);
    documents.add(&command, serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap());

    let new = |name: &str| scratch.path(name).display().to_string();
    let undo_file = new("undo");
    for (command, images) in [
        (format!("mkfs --json --byte-count 300M --label {}", "label"), vec![scratch.path("made.img")]),
        (format!("check --json --repair --yes --undo {undo_file}"), damaged.clone()),
        (format!("undo --json {undo_file}"), damaged.clone()),
        ("chunk-alloc --json --type data --size 64M".to_owned(), clean.clone()),
        ("balance --json --full".to_owned(), clean.clone()),
        ("chunk-remove --json --unused".to_owned(), clean.clone()),
        (format!("device add --json --new {} --size 512M", new("c.img")), clean.clone()),
        (
            format!("device replace --json --devid 3 --new {}", new("d.img")),
            [&clean[..], &[scratch.path("c.img")]].concat(),
        ),
        ("device remove --json --devid 3".to_owned(), [&clean[..], &[scratch.path("d.img")]].concat()),
        ("device stats --json --reset".to_owned(), clean.clone()),
        ("resize --json --devid 1 -16M".to_owned(), clean.clone()),
        ("tune --json --seed on".to_owned(), clean.clone()),
        (format!("sprout --json --size 512M --new {}", new("e.img")), clean.clone()),
    ] {
        let document = documents.run(&command, &images);
        assert_ne!(document["schema"], "rbtrfs.error/1", "{command}: {document}");
    }

    let seen: BTreeSet<&str> = documents.0.iter().map(|(name, ..)| name.as_str()).collect();
    let files = std::fs::read_dir(schemas()).unwrap().map(|entry| entry.unwrap().path());
    let stored: BTreeSet<String> = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(seen, stored.iter().map(String::as_str).collect());
    let Some(judged) = documents.judged() else { return };
    assert!(judged.is_empty(), "{}", judged.lines().take(30).collect::<Vec<_>>().join("\n"));
}

/// A schema that takes anything would judge nothing.
#[test]
fn a_document_with_a_member_too_many_or_too_few_is_seen() {
    let scratch = Scratch::in_memory();
    let images = filled(&scratch, "clean");
    let mut documents = Documents::default();
    let mut of_command = Documents::default();
    for command in READING.iter().filter(|command| !command.contains("dump-super")) {
        let document = of_command.run(command, &images);
        for (key, value) in [("nonsense", Some(json!(1))), ("schema", None)] {
            let mut other = document.clone();
            let members = other.as_object_mut().unwrap();
            match value {
                Some(value) => members.insert(key.to_owned(), value),
                None => members.remove(key),
            };
            let (name, what, _) = of_command.0.last().unwrap();
            documents.0.push((name.clone(), format!("{what} {key}"), other));
        }
    }
    let Some(judged) = documents.judged() else { return };
    for (name, what, _) in &documents.0 {
        assert!(judged.lines().any(|line| line.starts_with(&format!("{what} {name} "))), "{what}");
    }
}

#[test]
fn a_command_that_fails_says_so_in_a_document_and_as_ever() {
    let scratch = Scratch::in_memory();
    let images = images(&scratch);
    let zeros = scratch.zeros("zeros", 1 << 20);
    let nowhere = scratch.path("nowhere");
    let mut documents = Documents::default();
    for command in READING.iter().filter(|command| !command.contains("dump-super")) {
        let plain = command.replace(" --json", "");
        for (image, code) in [(&zeros, "not-btrfs"), (&nowhere, "open")] {
            let image = std::slice::from_ref(image);
            let expect = run_rbtrfs(&plain, image);
            let run = run_rbtrfs(command, image);
            assert_eq!((run.code, &run.stderr), (expect.code, &expect.stderr), "{command}");
            let document = documents.run(command, image);
            let path = image[0].to_str().unwrap();
            assert_eq!((&document["error"]["code"], &document["error"]["path"]), (&json!(code), &json!(path)));
            let message = document["error"]["message"].as_str().unwrap();
            let hint = document["error"]["hint"].as_str().map_or(String::new(), |hint| format!("; {hint}"));
            assert_eq!(hint.is_empty(), code != "not-btrfs", "{command}");
            assert!(run.stderr.ends_with(&format!(": {message}{hint}\n")), "{command}: {} {message}", run.stderr);
        }
        let document = documents.run(&format!("{command} --no-such-option"), &images);
        assert_eq!(document["error"]["code"], "usage", "{command}");
    }
    for command in ["ls --json-lines", "dump-tree --json-lines"] {
        assert_eq!(documents.run(command, std::slice::from_ref(&zeros))["error"]["code"], "not-btrfs");
    }
    let missing = documents.run("tune --json --seed on", &images[..1]);
    assert_eq!(missing["error"]["code"], "missing-device");
    let Some(judged) = documents.judged() else { return };
    assert_eq!(judged, "");
}

/// All numbers in a document that a reader with floating point numbers would round.
fn rounded(document: &Value) -> Vec<u64> {
    match document {
        Value::Number(number) => number.as_u64().filter(|number| *number > (1 << 53) - 1).into_iter().collect(),
        Value::Array(values) => values.iter().flat_map(rounded).collect(),
        Value::Object(members) => members.values().flat_map(rounded).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn no_integer_is_one_that_readers_round_if_that_is_asked_for() {
    let scratch = Scratch::in_memory();
    let images = filled(&scratch, "clean");
    for command in ["dump-tree --json", "dump-super --json", "ls --json -R"] {
        let run = run_rbtrfs(command, &images);
        let document: Value = serde_json::from_str(&run.stdout).unwrap();
        let run = run_rbtrfs(&format!("{command} --json-u64-strings"), &images);
        let strings: Value = serde_json::from_str(&run.stdout).unwrap();
        assert!(rounded(&strings).is_empty(), "{command}");
        assert_eq!(command.starts_with("dump-"), !rounded(&document).is_empty(), "{command}: no test of anything");
        for number in rounded(&document) {
            assert!(run.stdout.contains(&format!("\"{number}\"")), "{command}: {number}");
        }
    }
    let run = Run::of(Command::new(PROGRAM).args(["check", "--json-u64-strings"]).args(&images).output().unwrap());
    assert!(run.code == 2 && run.says(&["--json"]), "{}", run.stderr);
}
