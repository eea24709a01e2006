//! The table of fields (`docs/fields.md`): of each field that `disk/` declares it says what a check verifies it against, or
//! why nothing can be said of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rbtrfs::problem::Problem;

/// A struct and a field of it.
type Field = (String, String);

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The name before the colon of a line that is indented this far.
fn declared_name(line: &str, indent: usize) -> Option<&str> {
    let name = line.strip_prefix(&" ".repeat(indent))?.split_once(':')?.0;
    let name = name.strip_prefix("r#").unwrap_or(name);
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_name && !name.is_empty()).then_some(name)
}

/// All fields within `disk_struct!` in the sources.
fn declared_fields() -> BTreeSet<Field> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/disk");
    let mut fields = BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let source = std::fs::read_to_string(entry.path()).unwrap();
        for declarations in source.split("\ndisk_struct! {\n").skip(1) {
            let declarations = declarations.split("\n}\n").next().unwrap();
            let mut structure = None;
            for line in declarations.lines() {
                if let Some(name) = declared_name(line, 4) {
                    structure = Some(name.to_owned());
                } else if let (Some(name), Some(structure)) = (declared_name(line, 8), &structure) {
                    fields.insert((structure.clone(), name.to_owned()));
                }
            }
        }
    }
    fields
}

/// What the table says of each field.
fn rows() -> BTreeMap<Field, String> {
    let (mut structure, mut rows) = (String::new(), BTreeMap::new());
    for line in file("docs/fields.md").lines() {
        if let Some(name) = line.strip_prefix("## ") {
            structure = name.to_owned();
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [field, text] = cells[..]
            && line.starts_with("| ")
            && field != "field"
        {
            let before = rows.insert((structure.clone(), field.to_owned()), text.to_owned());
            assert!(before.is_none(), "two rows of {structure}.{field}");
        }
    }
    rows
}

#[test]
fn no_field_is_declared_without_what_verifies_it() {
    let (declared, rows) = (declared_fields(), rows());
    assert!(declared.len() > 200, "{}", declared.len());
    let told: BTreeSet<Field> = rows.keys().cloned().collect();
    let missing: Vec<_> = declared.difference(&told).collect();
    let unknown: Vec<_> = told.difference(&declared).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "without a row: {missing:?}, not declared: {unknown:?}");
}

/// A row names a problem that a check reports, another struct, or says that the field is not verified.
#[test]
fn each_row_of_the_table_says_what_a_check_reports_or_why_it_cannot() {
    let kinds: BTreeSet<&str> = Problem::kinds().map(|kind| kind.code).collect();
    for ((structure, field), text) in rows() {
        let codes: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
        let others: Vec<_> = codes.iter().filter(|code| !kinds.contains(*code)).collect();
        assert!(others.is_empty(), "{structure}.{field}: no such problems: {others:?}");
        let is_told = !codes.is_empty() || ["not verified", "see "].iter().any(|start| text.contains(start));
        assert!(is_told || text.contains("on opening"), "{structure}.{field}: {text}");
    }
}
