//! The examples of the man pages.

use std::path::Path;

use crate::blocks::{Shell, read};
use crate::support::Scratch;

/// The commands in a page's section of examples.
fn examples_of(page: &str) -> String {
    let section = page.split("\n.SH EXAMPLES\n").nth(1).expect("the page has examples");
    let section = section.split("\n.SH ").next().unwrap();
    let blocks = section.split(".nf\n").skip(1).map(|block| block.split(".fi").next().unwrap());
    let line = |line: &str| {
        let text = line.replace("\\*(Aq", "'").replace("\\-", "-").replace("\\&", "").replace("\\\\", "\\");
        text.trim_start().to_owned() + "\n"
    };
    blocks.flat_map(|block| block.lines().filter(|text| !text.starts_with(".PP"))).map(line).collect()
}

#[test]
fn every_example_of_every_page_does_what_it_is_there_for() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let mut count = 0;
    for page in std::fs::read_dir(pages).unwrap().map(|entry| entry.unwrap().path()) {
        let name = page.file_name().unwrap().to_str().unwrap().to_owned();
        // The codes of problems are no commands.
        if name.ends_with(".7") {
            continue;
        }
        let scratch = Scratch::new();
        let Some(shell) = Shell::new(&scratch) else { return };
        shell.set_up();
        let examples = examples_of(&read(&page));
        assert!(examples.contains("rbtrfs"), "{name}: {examples}");
        shell.run(&name, &examples);
        count += 1;
    }
    assert!(count > 25, "{count} pages");
}
