//! Which file a problem is of.

use std::collections::HashMap;

use crate::disk::{Ino, TreeId, objectid};
use crate::files::{Files, InodeId, Start};
use crate::problem::{FileName, Problem};
use crate::volume::Volume;

/// No more paths than this are looked up: each takes some blocks to be read.
const LOOKED_UP: usize = 1000;
/// Longer paths are cut at their beginning, as those of directories that no person made.
const LONGEST: usize = 4096;

/// The paths of what problems name by numbers.
pub struct Paths<'v> {
    volume: &'v Volume,
    known: Option<Known<'v>>,
    left: usize,
}

struct Known<'v> {
    files: Option<Files<'v>>,
    /// Paths of subvolumes from the top level, of those that stand somewhere.
    subvolumes: HashMap<TreeId, Vec<u8>>,
}

/// What a problem is of: a tree of files, an inode in it, and a name in that directory.
struct Place {
    tree: TreeId,
    inode: Option<Ino>,
    name: Option<String>,
}

impl<'v> Paths<'v> {
    pub fn new(volume: &'v Volume) -> Self {
        Self { volume, known: None, left: LOOKED_UP }
    }

    /// The path of an inode from the top level, as far as it can be told.
    pub fn of_inode(&mut self, inode: InodeId) -> Option<FileName> {
        let volume = self.volume;
        self.known.get_or_insert_with(|| Known::read(volume)).path(inode.tree, Some(inode.ino)).map(FileName)
    }

    /// The path from the top level of what the problem is of, as far as it can be told: `...` stands for what cannot.
    pub fn of(&mut self, problem: &Problem) -> Option<FileName> {
        let Place { tree, inode, name } = place_of(problem)?;
        self.left = self.left.checked_sub(1)?;
        let volume = self.volume;
        let known = self.known.get_or_insert_with(|| Known::read(volume));
        let mut path = known.path(tree, inode)?;
        if let Some(name) = name {
            path.extend(if path.ends_with(b"/") { &b""[..] } else { b"/" });
            path.extend(name.bytes());
        }
        if path.len() > LONGEST {
            path = [b"...", &path[path.len() - LONGEST..]].concat();
        }
        Some(FileName(path))
    }
}

impl<'v> Known<'v> {
    fn read(volume: &'v Volume) -> Self {
        let files = Files::open(volume, Start::TopLevel).or_else(|_| Files::open(volume, Start::Default)).ok();
        let subvolumes = files.iter().flat_map(Files::subvolumes);
        Self { subvolumes: subvolumes.filter_map(|subvolume| Some((subvolume.id, subvolume.path?))).collect(), files }
    }

    fn path(&self, tree: TreeId, inode: Option<Ino>) -> Option<Vec<u8>> {
        let files = self.files.as_ref()?;
        let subvolume = self.subvolumes.get(&tree);
        let (path, lost) = match inode {
            Some(inode) => files.known_path(InodeId::new(tree, inode)),
            None => (Vec::new(), None),
        };
        let start: &[u8] = match (subvolume, &lost) {
            (Some(subvolume), None) => subvolume,
            _ => b"...",
        };
        // Nothing but that it cannot be told.
        if start == b"..." && path.is_empty() {
            return None;
        }
        let parts = [start, &path].into_iter().filter(|part| !part.is_empty());
        let path = parts.collect::<Vec<_>>().join(&b'/');
        Some(if path.starts_with(b"...") { path } else { [b"/", path.as_slice()].concat() })
    }
}

/// What a problem names. Problems carry their values under their names.
fn place_of(problem: &Problem) -> Option<Place> {
    let is_inode = |ino: &u64| objectid::is_subvolume(*ino);
    if let Problem::Item(item) = problem {
        let inode = item.place.key.map(|key| key.objectid).filter(is_inode);
        let tree = Some(item.place.tree).filter(|tree| objectid::is_fs_tree(*tree))?;
        return Some(Place { tree: TreeId(tree), inode: Some(Ino(inode?)), name: None });
    }
    let values = serde_json::to_value(problem).ok()?;
    let number = |name: &str| values.get(name)?.as_u64();
    if let Some(subvolume) = number("subvolume") {
        return Some(Place { tree: TreeId(subvolume), inode: None, name: None });
    }
    let tree = number("tree").filter(|tree| objectid::is_fs_tree(*tree))?;
    let (inode, name) = match number("directory") {
        Some(directory) => (directory, values.get("name").and_then(|name| Some(name.as_str()?.to_owned()))),
        None => (number("inode")?, None),
    };
    is_inode(&inode).then_some(Place { tree: TreeId(tree), inode: Some(Ino(inode)), name })
}
