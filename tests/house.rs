//! The house keeps its shape: imports only go down, no two files import each other, and files stay short.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Modules by floor, the lowest first. Those on one floor do not import each other.
const FLOORS: &[&[&str]] = &[
    &["finding", "mix", "parallel", "progress", "ranges", "sync"],
    &["table"],
    &["disk"],
    &["error"],
    &["block", "image"],
    &["volume"],
    &["tree"],
    &["dump", "files", "space", "survey"],
    &["extract", "problem", "rebuild"],
    &["check", "trans"],
    &["chunk"],
    &["relocate"],
    &["device"],
    &["balance", "mkfs", "repair"],
    &["cli"],
];

/// Folders in which files still import each other, and why.
const CIRCLES: &[(&str, &str)] = &[(
    "block/item",
    "each noun declares its damage beside the rules that find it, and what they report to names all nouns",
)];

/// A module by the names that lead to it from the root of the crate.
type Module = Vec<String>;

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

/// The code of all modules, without comments and unit tests. Programs and the root of the crate are no modules.
fn modules() -> BTreeMap<Module, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = BTreeMap::new();
    for path in sources() {
        let inside = path.strip_prefix(&source).unwrap().with_extension("");
        let mut module: Module = inside.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        if module[0] == "bin" || module == ["lib"] {
            continue;
        }
        if module.last().is_some_and(|name| name == "mod") {
            module.pop();
        }
        modules.insert(module, code_of(&std::fs::read_to_string(&path).unwrap()));
    }
    modules
}

/// A source without its comments, and without the unit tests at its end.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The paths that a text names after `start`, which ends with `::`; those in a group one by one, each as far as names go.
fn paths_after(text: &str, start: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in text.match_indices(start) {
        let before = text[..at].chars().next_back();
        if !before.is_some_and(|c| is_name(c) || c == ':') {
            take_path(&text[at + start.len()..], &mut Vec::new(), &mut paths);
        }
    }
    paths
}

/// Adds the paths that `rest` begins with to `paths`, each behind `path`. Returns what comes after them.
fn take_path<'t>(rest: &'t str, path: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> &'t str {
    let rest = rest.trim_start();
    if let Some(mut group) = rest.strip_prefix('{') {
        loop {
            group = take_path(group, &mut path.clone(), paths).trim_start();
            match group.strip_prefix(',') {
                Some(next) if !next.trim_start().starts_with('}') => group = next,
                _ => break,
            }
        }
        return group.split_once('}').map_or("", |(_, after)| after);
    }
    let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    path.push(name.to_owned());
    match rest.strip_prefix("::") {
        Some(rest) if !name.is_empty() => take_path(rest, path, paths),
        _ => {
            paths.push(path.clone());
            rest
        }
    }
}

/// What a module passes on as its own: names, and the paths below it that they come from.
fn re_exports(code: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for statement in code.split(';') {
        let Some(at) = statement.rfind("use ") else { continue };
        let mut paths = Vec::new();
        take_path(&statement[at + 4..], &mut Vec::new(), &mut paths);
        let is_own =
            |path: &Vec<String>| path.len() > 1 && !["crate", "self", "std", "super"].contains(&path[0].as_str());
        found.extend(paths.into_iter().filter(is_own).map(|path| (path.last().unwrap().clone(), path)));
    }
    found
}

/// How often a text has a name as a word.
fn count_of(code: &str, name: &str) -> usize {
    code.split(|c| !is_name(c)).filter(|word| *word == name).count()
}

/// The module that defines what `path` leads to from `from`: names that folders pass on are followed.
fn definer(modules: &BTreeMap<Module, String>, from: &[String], path: &[String]) -> Option<Module> {
    let mut module = from.to_vec();
    for (index, name) in path.iter().enumerate() {
        if name == "super" {
            module.pop();
            continue;
        }
        let below: Module = module.iter().chain([name]).cloned().collect();
        if modules.contains_key(&below) {
            module = below;
            continue;
        }
        let passed_on = re_exports(modules.get(&module)?).into_iter().find(|(passed, _)| passed == name);
        return match passed_on {
            Some((_, own)) if index < 16 && own != path => definer(modules, &module, &own),
            _ => Some(module),
        };
    }
    Some(module)
}

/// The modules that each module imports from.
fn imports(modules: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let of_module = |(module, code): (&Module, &String)| {
        let mut imported: BTreeSet<Module> = BTreeSet::new();
        imported.extend(paths_after(code, "crate::").iter().filter_map(|path| definer(modules, &[], path)));
        for path in paths_after(code, "super::") {
            let path: Vec<String> = [vec!["super".to_owned()], path].concat();
            imported.extend(definer(modules, module, &path));
        }
        // A folder's own file uses a module in it, or passes names of it on and uses them as well.
        for child in modules.keys().filter(|other| other.len() == module.len() + 1 && other.starts_with(module)) {
            let name = child.last().unwrap();
            let passed_on = re_exports(code);
            let of_child = passed_on.iter().filter(|(_, path)| path[0] == *name);
            let uses = of_child.clone().any(|(item, _)| count_of(code, item) > 1);
            let paths = paths_after(code, &format!("{name}::"));
            if uses || paths.len() > code.matches(&format!("use {name}::")).count() {
                imported.extend(paths.iter().filter_map(|path| {
                    let path: Vec<String> = [vec![name.clone()], path.clone()].concat();
                    definer(modules, module, &path)
                }));
            }
        }
        imported.remove(module);
        (module.clone(), imported)
    };
    modules.iter().map(of_module).collect()
}

/// Circles of modules that import each other, each as the modules that are passed on the way round.
fn circles(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<Module>> {
    let reached = |start: &Module| {
        let mut reached = BTreeSet::new();
        let mut pending: Vec<&Module> = imports.get(start).into_iter().flatten().collect();
        while let Some(module) = pending.pop() {
            if reached.insert(module) {
                pending.extend(imports.get(module).into_iter().flatten());
            }
        }
        reached
    };
    let all: BTreeMap<&Module, BTreeSet<&Module>> = imports.keys().map(|module| (module, reached(module))).collect();
    let mut circles: BTreeSet<Vec<Module>> = BTreeSet::new();
    for (module, reached) in &all {
        let circle = reached.iter().filter(|other| all.get(*other).is_some_and(|others| others.contains(module)));
        circles.insert(circle.map(|other| (*other).clone()).collect());
    }
    circles.into_iter().filter(|circle| circle.len() > 1).collect()
}

/// Imports of a module on the same floor or a higher one.
fn upward<'m>(imports: &'m BTreeMap<Module, BTreeSet<Module>>, floors: &[&[&str]]) -> Vec<(&'m Module, &'m Module)> {
    let floor_of = |module: &Module| floors.iter().position(|floor| floor.contains(&module[0].as_str()));
    let is_upward = |module: &Module, imported: &Module| {
        !imported.is_empty() && module[0] != imported[0] && floor_of(imported) >= floor_of(module)
    };
    let pairs = imports.iter().flat_map(|(module, all)| all.iter().map(move |imported| (module, imported)));
    pairs.filter(|(module, imported)| is_upward(module, imported)).collect()
}

/// A house of a few modules, for the tests of the tests.
fn house(modules: &[(&str, &str)]) -> BTreeMap<Module, String> {
    let module = |path: &str| path.split('/').map(str::to_owned).collect();
    modules.iter().map(|(path, text)| (module(path), code_of(text))).collect()
}

#[test]
fn imports_only_go_down() {
    let modules = modules();
    for module in modules.keys() {
        let is_placed = FLOORS.iter().any(|floor| floor.contains(&module[0].as_str()));
        assert!(is_placed, "module {} stands on no floor", module[0]);
    }
    let imports = imports(&modules);
    let upward = upward(&imports, FLOORS);
    let show = |(module, imported): &(&Module, &Module)| format!("{} imports {}", module.join("/"), imported.join("/"));
    assert!(upward.is_empty(), "{:#?}", upward.iter().map(show).collect::<Vec<_>>());
}

#[test]
fn an_import_from_above_is_seen() {
    let floors: &[&[&str]] = &[&["low", "lower"], &["high"]];
    let sound = house(&[("low", "pub struct Low;"), ("lower", ""), ("high", "use crate::{low::Low, lower};")]);
    assert!(upward(&imports(&sound), floors).is_empty());
    for text in [
        "use crate::high::High;",
        "fn f() { crate::high::f() }",
        "use crate::{lower, high::{High}};",
        "use crate::lower;",
    ] {
        let house = house(&[("low", text), ("lower", ""), ("high", "pub struct High;")]);
        assert_eq!(
            upward(&imports(&house), floors).len(),
            if text.starts_with("use crate::{") { 2 } else { 1 },
            "{text}"
        );
    }
    // A comment names what it likes.
    let house = house(&[("low", "// crate::high is above."), ("lower", ""), ("high", "")]);
    assert!(upward(&imports(&house), floors).is_empty());
}

#[test]
fn no_files_import_each_other() {
    let circles = circles(&imports(&modules()));
    let is_in = |circle: &Vec<Module>, folder: &str| {
        let folder: Module = folder.split('/').map(str::to_owned).collect();
        circle.iter().all(|module| module.starts_with(&folder))
    };
    let is_known = |circle: &&Vec<Module>| CIRCLES.iter().any(|(folder, _)| is_in(circle, folder));
    let show = |circle: &Vec<Module>| circle.iter().map(|module| module.join("/")).collect::<Vec<_>>().join(", ");
    let new: Vec<String> = circles.iter().filter(|circle| !is_known(circle)).map(show).collect();
    assert!(new.is_empty(), "{new:#?}");
    for (folder, _) in CIRCLES {
        assert!(circles.iter().any(|circle| is_in(circle, folder)), "{folder} has no circle any more");
    }
}

#[test]
fn a_circle_of_files_is_seen() {
    let of_two = [("a", "mod one; mod two;"), ("a/one", "use super::two::Two;"), ("a/two", "use crate::a::one::One;")];
    assert_eq!(circles(&imports(&house(&of_two)))[0].len(), 2);
    // Through the names that a folder passes on.
    let passed_on = [
        ("a", "mod one; mod two; pub use one::One; pub use two::Two;"),
        ("a/one", "use super::Two;"),
        ("a/two", "use super::One;"),
    ];
    assert_eq!(circles(&imports(&house(&passed_on)))[0].len(), 2);
    // A folder's own file, which uses what is in the folder, and is used by it.
    let own = [("a", "mod one; use one::One; pub struct A(One);"), ("a/one", "use super::A;")];
    assert_eq!(circles(&imports(&house(&own)))[0].len(), 2);
    let long =
        [("a", ""), ("a/one", "super::two::f()"), ("a/two", "super::three::f()"), ("a/three", "super::one::f()")];
    assert_eq!(circles(&imports(&house(&long)))[0].len(), 3);
    let sound = [
        ("a", "mod one; mod two; pub use one::One; pub use two::Two;"),
        ("a/one", "pub struct One;"),
        ("a/two", "use super::One; pub struct Two(One);"),
    ];
    assert!(circles(&imports(&house(&sound))).is_empty());
}

#[test]
fn files_stay_short_enough_to_read() {
    for path in sources() {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 600, "{} has {lines} lines", path.display());
    }
}

/// Without its feature `cli` the library has nothing of a command line.
#[test]
fn the_library_needs_no_command_line() {
    let arguments = ["tree", "--offline", "--locked", "--no-default-features", "--edges", "normal", "--prefix", "none"];
    let output = std::process::Command::new(env!("CARGO")).args(arguments).output().unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && tree.contains("zerocopy "), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["clap", "anyhow", "indicatif", "signal-hook"] {
        assert!(!tree.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}");
    }
}
