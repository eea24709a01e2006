//! Which paths are extracted.

use super::glob::Glob;

/// What becomes of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It is extracted, and what is below it.
    Whole,
    /// It is a directory on the way to what is extracted.
    OnTheWay,
    /// It is left out, and what is below it.
    Out,
}

/// The paths that are extracted.
pub struct Selection<'o> {
    /// Without slashes before, behind and beside each other; none of them means all paths.
    paths: Vec<Vec<u8>>,
    exclude: &'o [Glob],
}

impl<'o> Selection<'o> {
    pub fn new(paths: &[Vec<u8>], exclude: &'o [Glob]) -> Self {
        let paths = paths.iter().map(|path| normal(path)).collect();
        Self { paths, exclude }
    }

    /// Whether all paths are extracted but what is excluded.
    pub fn is_all(&self) -> bool {
        self.paths.is_empty() || self.paths.iter().any(Vec::is_empty)
    }

    /// What becomes of `path` below a directory of which `parent` was chosen.
    pub fn choose(&self, parent: Choice, path: &[u8]) -> Choice {
        if parent == Choice::Out || self.exclude.iter().any(|glob| glob.matches(path)) {
            return Choice::Out;
        }
        if parent == Choice::Whole || self.paths.iter().any(|wanted| wanted == path) {
            return Choice::Whole;
        }
        let is_above = |wanted: &Vec<u8>| wanted.strip_prefix(path).is_some_and(|rest| rest.starts_with(b"/"));
        if self.paths.iter().any(is_above) { Choice::OnTheWay } else { Choice::Out }
    }
}

/// A path without what names no directory.
fn normal(path: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::{Choice, Glob, Selection};

    #[test]
    fn a_path_takes_what_is_below_it_and_what_leads_to_it() {
        let (paths, exclude) = ([b"/a//b/../c/".to_vec()], [Glob::new(b"*.tmp")]);
        let selection = Selection::new(&paths, &exclude);
        let choose = |parent, path: &str| selection.choose(parent, path.as_bytes());
        assert_eq!(choose(Choice::OnTheWay, "a"), Choice::OnTheWay);
        assert_eq!(choose(Choice::OnTheWay, "a/c"), Choice::Whole);
        assert_eq!(choose(Choice::OnTheWay, "a/cc"), Choice::Out);
        assert_eq!(choose(Choice::Whole, "a/c/d"), Choice::Whole);
        assert_eq!(choose(Choice::Whole, "a/c/d.tmp"), Choice::Out);
        assert_eq!(choose(Choice::Out, "a/c"), Choice::Out);
    }
}
