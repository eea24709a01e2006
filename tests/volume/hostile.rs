//! Filesystems that somebody made to break programs, and others that are odd: nothing crashes, hangs or takes all
//! memory, and every form of output says the same.
//!
//! The images are not part of this project; `RBTRFS_CORPUS` names their directory.

use std::fs::File;
use std::path::Path;

use crate::support::limits::{Ended, rbtrfs_within_limits};
use crate::support::{Run, reference, require};
use serde_json::Value;

/// The forms of output that name items.
const DUMPS: [&[&str]; 3] = [&["dump-tree"], &["dump-tree", "--json"], &["dump-tree", "--json-lines"]];

const COMMANDS: [&[&str]; 10] = [
    DUMPS[0],
    DUMPS[1],
    DUMPS[2],
    &["dump-tree", "--dfs"],
    &["dump-tree", "--dfs", "--json"],
    &["dump-tree", "--backups", "--csum-headers", "--csum-items"],
    &["dump-super", "-fa"],
    &["dump-super", "-fa", "--json"],
    &["list-chunks"],
    &["list-chunks", "--json"],
];

#[test]
fn hostile_images_do_no_harm() {
    let images = crate::support::corpus::unpacked(|_| true);
    if !require("hostile_images_do_no_harm", !images.is_empty(), "there is no corpus of images") {
        return;
    }
    for image in images {
        for arguments in COMMANDS {
            let Ended { code, stdout, stderr } = rbtrfs_within_limits(arguments, &image);
            let what = format!("{arguments:?} {}: {stderr}", image.display());
            assert!(matches!(code, Some(0 | 2)), "{code:?} {what}");
            assert!(!stderr.contains("panicked at"), "{what}");
            assert!(code == Some(0) || !stderr.is_empty(), "failed and did not say why: {what}");
            if arguments.contains(&"--json") && (code == Some(0) || !stdout.is_empty()) {
                document(&stdout, &what);
            }
            if arguments.contains(&"--json-lines") {
                items_of_lines(&stdout, &what);
            }
        }
    }
}

/// What is asked of a check: problems, or one line that says why there was none.
#[test]
fn hostile_images_are_called_damaged() {
    let images = crate::support::corpus::unpacked(|name| name.starts_with("fuzz-"));
    if !require("hostile_images_are_called_damaged", !images.is_empty(), "there is no corpus of images") {
        return;
    }
    for image in images {
        let [text, json] = [&["check"][..], &["check", "--json"]].map(|command| rbtrfs_within_limits(command, &image));
        let what = format!("{}: {}", image.display(), text.stderr);
        assert!(!text.stderr.contains("panicked at"), "{what}");
        assert_eq!((text.code, &text.stderr), (json.code, &json.stderr), "{what}");
        match text.code {
            Some(1) => {
                let document = document(&json.stdout, &what);
                assert!(members(&document["problems"]).count() > 0 && document["clean"] == false, "{what}");
            }
            Some(2) => {
                assert_eq!(text.stderr.lines().count(), 1, "{what}");
                assert!(is_error(&document(&json.stdout, &what)), "{what}");
            }
            code => panic!("{code:?} {what}"),
        }
    }
}

#[test]
fn problems_are_the_same_for_any_number_of_threads() {
    let images = crate::support::corpus::unpacked(|_| true);
    if !require("problems_are_the_same_for_any_number_of_threads", !images.is_empty(), "there is no corpus of images") {
        return;
    }
    for image in images {
        let run = |threads| Run::of(crate::support::rbtrfs("check", &["--json", "--threads", threads], &[&image]));
        let one = run("1");
        assert_eq!(one, run("2"), "{}", image.display());
        assert_eq!(one, run("16"), "{}", image.display());
    }
}

#[track_caller]
fn document(text: &[u8], what: &str) -> Value {
    serde_json::from_slice(text).unwrap_or_else(|error| panic!("the document is damaged: {error}: {what}"))
}

/// Images without damage whose dump btrfs-progs 6.2 prints the same way.
const VALID: [&str; 6] = ["019-", "020-", "023-", "030-", "054-", "065-"];

#[test]
fn valid_images_are_dumped_as_btrfs_progs_dumps_them() {
    let test = "valid_images_are_dumped_as_btrfs_progs_dumps_them";
    let images = crate::support::corpus::unpacked(|name| VALID.iter().any(|valid| name.starts_with(valid)));
    if !require(test, !images.is_empty(), "there is no corpus of images")
        || !require(test, reference::is_installed(), "btrfs-progs is not installed")
    {
        return;
    }
    assert!(images.len() >= 8, "{images:?}");
    images.iter().for_each(|image| reference::assert_same_lines(image));
}

#[test]
fn all_forms_name_the_same_items() {
    let small = Path::new(env!("CARGO_TARGET_TMPDIR")).join("forms.img");
    let file = File::create(&small).expect("the image is created");
    crate::support::small_image::write_small_image(&Default::default(), &file).expect("the image is written");
    assert_same_items(&small);
    let images = crate::support::corpus::unpacked(|_| true);
    if require("all_forms_name_the_same_items", !images.is_empty(), "there is no corpus of images") {
        images.iter().for_each(|image| assert_same_items(image));
    }
}

/// An item as all forms name it: the block, the slot, and where its data is.
type Item = (u64, u64, u64, u64);

#[track_caller]
fn assert_same_items(image: &Path) {
    let [text, json, lines] = DUMPS.map(|arguments| rbtrfs_within_limits(arguments, image));
    let what = image.display().to_string();
    assert_eq!((text.code, json.code), (lines.code, lines.code), "{what}");
    // What could not be read is complained of in the same words.
    assert_eq!(text.stderr, json.stderr, "{what}");
    assert_eq!(text.stderr, lines.stderr, "{what}");
    if text.stdout.is_empty() {
        return;
    }
    let text = items_of_text(&text.stdout);
    assert!(!text.is_empty(), "{what}");
    assert_same(&text, &items_of_lines(&lines.stdout, &what), &what);
    assert_same(&text, &items_of_document(&document(&json.stdout, &what)), &what);
}

#[track_caller]
fn assert_same(text: &[Item], other: &[Item], what: &str) {
    let different = text.iter().zip(other).find(|(text, other)| text != other);
    assert_eq!(different, None, "{what}");
    assert_eq!(text.len(), other.len(), "{what}");
}

fn items_of_text(text: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    let mut block = 0;
    for line in String::from_utf8_lossy(text).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["leaf", logical, "items", ..] => block = number(logical),
            ["\titem", slot, .., "itemoff", offset, "itemsize", size] => {
                items.push((block, number(slot), number(offset), number(size)));
            }
            _ => {}
        }
    }
    items
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn item(block: &Value, item: &Value) -> Item {
    let field = |name: &str| item[name].as_u64().unwrap_or_else(|| panic!("{name} is a number in {item}"));
    (block.as_u64().expect("a block has an address"), field("slot"), field("offset"), field("size"))
}

fn items_of_lines(lines: &[u8], what: &str) -> Vec<Item> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines = lines.map(|line| document(line, what)).filter(|line| !is_error(line));
    lines.map(|line| item(&line["block"], &line)).collect()
}

/// Whether a document says why the command failed.
fn is_error(document: &Value) -> bool {
    document["schema"] == "rbtrfs.error/1"
}

fn items_of_document(document: &Value) -> Vec<Item> {
    let blocks = members(&document["trees"]).flat_map(|tree| members(&tree["blocks"]));
    blocks.flat_map(|block| members(&block["items"]).map(|each| item(&block["bytenr"], each))).collect()
}

fn members(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().into_iter().flatten()
}
