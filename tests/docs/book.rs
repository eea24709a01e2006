//! The recipes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::blocks::{Shell, blocks_of, read};
use crate::support::Scratch;

fn book() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src")
}

/// Runs the blocks of a chapter one after the other.
fn run_chapter(name: &str) {
    let scratch = Scratch::new();
    let Some(shell) = Shell::new(&scratch) else { return };
    shell.set_up();
    let blocks = blocks_of(&read(&book().join(name)));
    assert!(!blocks.is_empty(), "{name}");
    for (heading, block) in blocks {
        shell.run(&format!("{name}: {heading}"), &block);
    }
}

#[test]
fn a_full_filesystem_gets_space_by_the_recipe() {
    run_chapter("no-space.md");
}

#[test]
fn images_for_a_distribution_are_built_by_the_recipe() {
    run_chapter("images.md");
}

#[test]
fn a_filesystem_shrinks_by_the_recipe() {
    run_chapter("shrinking.md");
}

#[test]
fn a_dump_is_read_by_the_recipe() {
    run_chapter("jq.md");
}

#[test]
fn chunks_come_and_go_as_the_recipe_shows() {
    run_chapter("chunks.md");
}

/// The chapter that has no commands, but programs, shows those that the examples of the crate are.
#[test]
fn the_programs_of_the_chapter_on_the_library_are_built_with_it() {
    let chapter = read(&book().join("library.md"));
    let included: Vec<&str> =
        chapter.split("{{#include ").skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
    assert!(included.len() >= 3, "{included:?}");
    for path in included {
        assert!(path.starts_with("../../examples/") && book().join(path).is_file(), "{path}");
    }
    assert!(blocks_of(&chapter).is_empty(), "commands of this chapter are not run");
}

#[test]
fn every_chapter_is_in_the_summary_and_every_link_leads_somewhere() {
    let files: BTreeSet<String> = std::fs::read_dir(book())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md") && name != "SUMMARY.md")
        .collect();
    let links = |name: &str| -> Vec<String> {
        let text = read(&book().join(name));
        let targets = text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap().to_owned());
        targets.filter(|target| !target.is_empty()).collect()
    };
    assert_eq!(links("SUMMARY.md").into_iter().collect::<BTreeSet<_>>(), files);
    for name in &files {
        for target in links(name) {
            assert!(book().join(&target).exists(), "{name}: {target}");
        }
    }
}
