//! The house keeps its shape: imports only go down, and files stay short.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Modules by floor, the lowest first. Those on one floor do not import each other.
const FLOORS: &[&[&str]] = &[
    &["finding", "parallel", "progress", "sync", "table"],
    &["disk"],
    &["error"],
    &["block", "image"],
    &["volume"],
    &["tree"],
    &["check", "dump", "files", "space"],
    &["rebuild"],
    &["trans"],
    &["chunk"],
    &["device"],
    &["mkfs"],
    &["cli"],
];

fn sources() -> Vec<PathBuf> {
    let mut pending = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut files = Vec::new();
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The modules that `text` names with `crate::`, also in a group of imports.
fn imports(text: &str) -> Vec<String> {
    let module = |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned();
    text.split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap().split(',').map(|part| module(part.trim())).collect(),
            None => vec![module(rest)],
        })
        .collect()
}

#[test]
fn imports_only_go_down() {
    let floors: BTreeMap<&str, usize> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, modules)| modules.iter().map(move |module| (*module, floor)))
        .collect();
    for path in sources() {
        let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if module == "bin" || module == "lib" {
            continue;
        }
        let floor = floors.get(module).unwrap_or_else(|| panic!("module {module} stands on no floor"));
        for import in imports(&std::fs::read_to_string(&path).unwrap()) {
            // Macros and items at the root of the crate have no floor.
            let Some(imported) = floors.get(import.as_str()) else { continue };
            assert!(
                imported < floor || import == module,
                "{} imports {import}, which does not stand below it",
                inside.display()
            );
        }
    }
}

#[test]
fn files_stay_short_enough_to_read() {
    for path in sources() {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 600, "{} has {lines} lines", path.display());
    }
}
