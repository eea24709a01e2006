//! What no directory has a name for, although its inode is there.

use std::collections::HashSet;

use xxhash_rust::xxh64::xxh64;

use crate::disk::{Ino, TreeId, objectid};
use crate::files::{FileKind, InodeId, TreeInode};

use super::batch::Entry;
use super::directories::DirectoryNumber;
use super::link::Links;
use super::problem::ProblemKind;
use super::walker::{Found, Walker};

/// Inodes that are looked at at once.
const AT_ONCE: usize = 4096;
const LOST_AND_FOUND: &str = "lost+found";

/// The search. It goes through each subvolume that was entered: first for directories, which may lead to all else, then for the
/// others.
pub struct Lost {
    /// Index of the subvolume in those that were entered.
    tree: usize,
    phase: Phase,
    lost_and_found: Option<DirectoryNumber>,
    /// The directories in `lost+found`.
    of_trees: Vec<(TreeId, DirectoryNumber)>,
    /// Names that were given.
    given: HashSet<(DirectoryNumber, u64)>,
    snapshots: bool,
}

enum Phase {
    /// Directories that had not been entered, the next one last; nothing before they are known.
    Directories(Option<Vec<TreeInode>>),
    /// The other inodes from this number on.
    Others(Ino),
}

impl Lost {
    /// A search in which subvolumes without a name are extracted, and snapshots among them if `snapshots`.
    pub fn new(snapshots: bool) -> Self {
        Self {
            tree: 0,
            phase: Phase::Directories(None),
            lost_and_found: None,
            of_trees: Vec::new(),
            given: HashSet::new(),
            snapshots,
        }
    }

    /// Goes on with the search, while the walk has nothing left to do: entries that were found, where they may be none and a
    /// directory is to be entered. Nothing at the end.
    pub fn next(&mut self, walker: &mut Walker<'_, '_>, links: &Links) -> Option<Vec<Entry>> {
        let Some(tree) = walker.trees.get(self.tree).copied() else {
            return self.find_subvolumes(walker).then(Vec::new);
        };
        match std::mem::replace(&mut self.phase, Phase::Directories(None)) {
            Phase::Directories(None) => self.phase = Phase::Directories(Some(unvisited_directories(walker, tree))),
            Phase::Directories(Some(mut lost)) => match lost.pop() {
                Some(inode) if walker.visited.has(InodeId::new(tree, inode.ino)) => {
                    self.phase = Phase::Directories(Some(lost));
                }
                Some(inode) => {
                    self.enter_above(walker, tree, inode.clone());
                    lost.push(inode);
                    self.phase = Phase::Directories(Some(lost));
                }
                None => self.phase = Phase::Others(Ino(objectid::FIRST_FREE)),
            },
            Phase::Others(from) => {
                let Ok((inodes, next)) = walker.files.inodes(tree, from, AT_ONCE) else {
                    self.tree += 1;
                    return Some(Vec::new());
                };
                match next {
                    Some(next) => self.phase = Phase::Others(next),
                    None => self.tree += 1,
                }
                let mut entries = Vec::new();
                for inode in inodes {
                    self.find_names(walker, links, tree, &inode, &mut entries);
                }
                return Some(entries);
            }
        }
        Some(Vec::new())
    }

    /// Has a directory entered that nothing leads to, or the topmost of those that are lost with it.
    fn enter_above(&mut self, walker: &mut Walker<'_, '_>, tree: TreeId, lost: TreeInode) {
        let (mut current, mut met) = (lost, HashSet::new());
        loop {
            let inode = InodeId::new(tree, current.ino);
            let named = current.names.first().filter(|_| met.insert(current.ino));
            let Some((parent, name)) = named else {
                self.enter_nameless(walker, inode);
                return;
            };
            match walker.number_of(InodeId::new(tree, *parent)) {
                Some(Some(directory)) => {
                    match self.may_give(walker, directory, InodeId::new(tree, *parent), name) {
                        true => self.enter(walker, directory, name.clone(), inode),
                        false => self.enter_nameless(walker, inode),
                    }
                    return;
                }
                // With the directory that it is in it is left out.
                Some(None) => {
                    walker.visited.add(inode);
                    return;
                }
                None => {}
            }
            let above = walker.files.tree_inode(InodeId::new(tree, *parent)).ok().flatten();
            match above.filter(|above| above.kind == FileKind::Directory) {
                Some(above) => current = above,
                None => {
                    match self.stand_in(walker, InodeId::new(tree, *parent)) {
                        Some(directory) => self.enter(walker, directory, name.clone(), inode),
                        None => walker.visited.add(inode),
                    }
                    return;
                }
            }
        }
    }

    fn enter_nameless(&mut self, walker: &mut Walker<'_, '_>, inode: InodeId) {
        match self.of_tree(walker, inode.tree) {
            Some(directory) => self.enter(walker, directory, inode.ino.to_string().into_bytes(), inode),
            None => walker.visited.add(inode),
        }
    }

    fn enter(&mut self, walker: &mut Walker<'_, '_>, parent: DirectoryNumber, name: Vec<u8>, inode: InodeId) {
        let path = walker.directories.path_of(parent, &name);
        walker.visited.add(inode);
        if walker.is_wanted(&path) {
            walker.reports.tell_of(ProblemKind::Found, path, Some(inode), "no directory has an entry of it");
        }
        walker.enter_later(Found { parent, name, inode });
    }

    /// Names of an inode that no directory has.
    fn find_names(
        &mut self,
        walker: &mut Walker<'_, '_>,
        links: &Links,
        tree: TreeId,
        inode: &TreeInode,
        entries: &mut Vec<Entry>,
    ) {
        let id = InodeId::new(tree, inode.ino);
        let is_visited = walker.visited.has(id);
        // What has no names on purpose was deleted while it was open.
        let is_deleted = inode.nlink == Some(0);
        if is_deleted || (is_visited && (inode.kind == FileKind::Directory || inode.names.len() <= links.count(id))) {
            return;
        }
        walker.visited.add(id);
        let mut is_named = is_visited;
        for (parent, name) in &inode.names {
            let parent = InodeId::new(tree, *parent);
            let is_there = |entry: crate::files::DirEntry| entry.inode == id;
            if is_visited && walker.files.lookup_in(parent, name).is_ok_and(is_there) {
                continue;
            }
            let directory = match walker.number_of(parent) {
                Some(Some(directory)) => directory,
                Some(None) => {
                    is_named = true;
                    continue;
                }
                None => match self.stand_in(walker, parent) {
                    Some(directory) => directory,
                    None => continue,
                },
            };
            if self.may_give(walker, directory, parent, name) {
                is_named = true;
                self.add(walker, directory, name.clone(), id, inode.kind, entries);
            }
        }
        if !is_named && let Some(directory) = self.of_tree(walker, tree) {
            self.add(walker, directory, inode.ino.to_string().into_bytes(), id, inode.kind, entries);
        }
    }

    fn add(
        &mut self,
        walker: &Walker<'_, '_>,
        directory: DirectoryNumber,
        name: Vec<u8>,
        inode: InodeId,
        kind: FileKind,
        entries: &mut Vec<Entry>,
    ) {
        let path = walker.directories.path_of(directory, &name);
        if !walker.is_wanted(&path) {
            return;
        }
        match kind {
            FileKind::Unknown => {
                let reason = "the inode item is missing, and there are neither extents nor entries";
                walker.reports.tell_of(ProblemKind::Missing, path, Some(inode), reason);
            }
            kind => {
                walker.reports.tell_of(ProblemKind::Found, path, Some(inode), "no directory has an entry of it");
                let after = walker.directories.count();
                entries.push(Entry { directory, name, inode, kind, after });
            }
        }
    }

    /// Whether a name in a directory is that of nothing else; nothing else gets it then.
    fn may_give(&mut self, walker: &Walker<'_, '_>, directory: DirectoryNumber, inode: InodeId, name: &[u8]) -> bool {
        walker.files.lookup_in(inode, name).is_err() && self.given.insert((directory, xxh64(name, 0)))
    }

    /// A directory in the place of one of which nothing is left.
    fn stand_in(&mut self, walker: &mut Walker<'_, '_>, lost: InodeId) -> Option<DirectoryNumber> {
        let parent = self.of_tree(walker, lost.tree)?;
        walker.stand_in(lost, parent, lost.ino.to_string().as_bytes())
    }

    /// The directory in `lost+found` for what a subvolume has lost.
    fn of_tree(&mut self, walker: &mut Walker<'_, '_>, tree: TreeId) -> Option<DirectoryNumber> {
        if let Some((_, number)) = self.of_trees.iter().find(|(known, _)| *known == tree) {
            return Some(*number);
        }
        let parent = self.lost_and_found(walker)?;
        let number = walker.directories.add(parent, tree.to_string().as_bytes(), None)?;
        self.of_trees.push((tree, number));
        Some(number)
    }

    fn lost_and_found(&mut self, walker: &mut Walker<'_, '_>) -> Option<DirectoryNumber> {
        if self.lost_and_found.is_none() {
            let mut names = (0_u32..).map(|number| match number {
                0 => LOST_AND_FOUND.to_owned(),
                number => format!("{LOST_AND_FOUND}.{number}"),
            });
            let root = walker.files.root();
            let name = names.find(|name| self.may_give(walker, DirectoryNumber::ROOT, root, name.as_bytes()))?;
            self.lost_and_found = walker.directories.add(DirectoryNumber::ROOT, name.as_bytes(), None);
        }
        self.lost_and_found
    }

    /// Has subvolumes entered that no directory leads to; whether there are any. They are looked for where all of the filesystem is
    /// extracted.
    fn find_subvolumes(&mut self, walker: &mut Walker<'_, '_>) -> bool {
        if walker.files.root().tree.0 != objectid::FS_TREE {
            return false;
        }
        let mut is_any = false;
        for subvolume in walker.files.subvolumes() {
            if subvolume.is_deleted || walker.met.contains(&subvolume.id) {
                continue;
            }
            // A directory that is left out, or that is in a subvolume which is, takes its inodes along.
            if subvolume.place.as_ref().is_some_and(|(directory, _)| walker.is_left_out(*directory)) {
                continue;
            }
            walker.met.insert(subvolume.id);
            let Ok(inode) = walker.files.subvolume_root(subvolume.id) else { continue };
            if subvolume.parent_uuid.is_some() && !self.snapshots {
                walker.snapshots_left_out.push(subvolume.id.to_string().into_bytes());
                continue;
            }
            let place = subvolume.place.and_then(|(directory, name)| {
                let number = walker.number_of(directory)??;
                self.may_give(walker, number, directory, &name).then_some((number, name))
            });
            let place = place.or_else(|| {
                let parent = self.lost_and_found(walker)?;
                Some((parent, format!("subvolume-{}", subvolume.id).into_bytes()))
            });
            if let Some((parent, name)) = place {
                self.enter(walker, parent, name, inode);
                is_any = true;
            }
        }
        is_any
    }
}

/// The directories of a subvolume that were not entered, the first one last.
fn unvisited_directories(walker: &Walker<'_, '_>, tree: TreeId) -> Vec<TreeInode> {
    let (mut lost, mut next) = (Vec::new(), Some(Ino(objectid::FIRST_FREE)));
    while let Some(from) = next {
        let Ok((inodes, rest)) = walker.files.inodes(tree, from, AT_ONCE) else { break };
        let is_lost = |inode: &TreeInode| {
            let id = InodeId::new(tree, inode.ino);
            inode.kind == FileKind::Directory && inode.nlink != Some(0) && !walker.visited.has(id)
        };
        lost.extend(inodes.into_iter().filter(is_lost));
        next = rest;
    }
    lost.reverse();
    lost
}
