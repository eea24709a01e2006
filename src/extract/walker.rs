//! The walk over directories: what is in them, one batch after the other.

use std::collections::{HashMap, HashSet};

use xxhash_rust::xxh64::xxh64;

use crate::disk::TreeId;
use crate::error::{Error, FileProblem, Result};
use crate::files::{DirEntry, FileKind, Files, InodeId, ReadDir};

use super::batch::Entry;
use super::directories::{Directories, DirectoryNumber};
use super::problem::{ProblemKind, Reports};
use super::selection::{Choice, Selection};

/// Names of one batch.
const BATCH: usize = 4096;

/// A directory that is to be entered.
pub struct Found {
    pub parent: DirectoryNumber,
    pub name: Vec<u8>,
    pub inode: InodeId,
}

/// A directory whose names are being read.
struct Open<'w, 'v> {
    read_dir: ReadDir<'w, 'v>,
    inode: InodeId,
    /// Nothing if it is left out, and is walked only to know what has a name.
    number: Option<DirectoryNumber>,
    choice: Choice,
    /// Length of its path.
    length: usize,
    /// Hashes of the names that were met.
    names: HashSet<u64>,
}

pub struct Walker<'w, 'v> {
    pub files: &'w Files<'v>,
    pub reports: &'w Reports<'w>,
    pub directories: Directories,
    pub visited: super::visited::Visited,
    /// Subvolumes that were entered, in order.
    pub trees: Vec<TreeId>,
    /// Subvolumes that were met, entered or not.
    pub met: HashSet<TreeId>,
    /// Paths of snapshots that were not entered.
    pub snapshots_left_out: Vec<Vec<u8>>,
    /// Snapshots that are not entered.
    snapshots: HashSet<TreeId>,
    selection: Selection<'w>,
    /// Directories that were entered; nothing for those that are left out.
    entered: HashMap<InodeId, Option<DirectoryNumber>>,
    /// Directories that are entered once those that are open have ended.
    pending: Vec<Found>,
    open: Vec<Open<'w, 'v>>,
    path: Vec<u8>,
}

impl<'w, 'v> Walker<'w, 'v> {
    /// A walk from the root on. Those of `snapshots` are not entered.
    ///
    /// # Errors
    ///
    /// The root directory cannot be read.
    pub fn new(
        files: &'w Files<'v>,
        selection: Selection<'w>,
        snapshots: HashSet<TreeId>,
        reports: &'w Reports<'w>,
    ) -> Result<Self> {
        let root = files.root();
        let mut walker = Self {
            files,
            reports,
            directories: Directories::new(root),
            visited: Default::default(),
            trees: vec![root.tree],
            met: HashSet::from([root.tree]),
            snapshots_left_out: Vec::new(),
            snapshots,
            selection,
            entered: HashMap::new(),
            pending: Vec::new(),
            open: Vec::new(),
            path: Vec::new(),
        };
        walker.visited.add(root);
        let choice = if walker.selection.is_all() { Choice::Whole } else { Choice::OnTheWay };
        let read_dir = files.read_dir(root)?;
        walker.push(read_dir, root, Some(DirectoryNumber::ROOT), choice);
        Ok(walker)
    }

    /// Names that come next, and new directories; neither at the end of the walk.
    pub fn next_batch(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let known = self.directories.count();
        while entries.len() + self.directories.count() - known < BATCH {
            if self.open.is_empty() {
                let Some(found) = self.pending.pop() else { break };
                self.path = self.directories.path_of(found.parent, &found.name);
                let choice = self.selection.choose(Choice::Whole, &self.path);
                entries.extend(self.enter(Some(found.parent), &found.name, found.inode, choice));
            } else {
                entries.extend(self.next_entry());
            }
        }
        entries
    }

    /// Has a directory entered, after those that are open now.
    pub fn enter_later(&mut self, found: Found) {
        self.pending.push(found);
    }

    /// The number of a directory that was entered: nothing if it was not, and nothing inside if it is left out.
    pub fn number_of(&self, inode: InodeId) -> Option<Option<DirectoryNumber>> {
        self.entered.get(&inode).copied()
    }

    /// Whether a directory, or the subvolume that it is in, was met and left out.
    pub fn is_left_out(&self, directory: InodeId) -> bool {
        let is_tree_out = self.met.contains(&directory.tree) && !self.trees.contains(&directory.tree);
        is_tree_out || self.number_of(directory) == Some(None)
    }

    /// Makes a directory for what was in one of which nothing is left.
    pub fn stand_in(&mut self, inode: InodeId, parent: DirectoryNumber, name: &[u8]) -> Option<DirectoryNumber> {
        let number = self.directories.add(parent, name, None)?;
        self.entered.insert(inode, Some(number));
        Some(number)
    }

    /// Whether a path is extracted whose directory is.
    pub fn is_wanted(&self, path: &[u8]) -> bool {
        self.selection.choose(Choice::Whole, path) == Choice::Whole
    }

    /// The next step of the walk: what it meets, if that is no directory and is extracted.
    fn next_entry(&mut self) -> Option<Entry> {
        let open = self.open.last_mut()?;
        self.path.truncate(open.length);
        let entry = match open.read_dir.next() {
            Some(Ok(entry)) => entry,
            Some(Err(error)) => {
                if open.choice != Choice::Out {
                    self.reports.tell_of(ProblemKind::Incomplete, self.path.clone(), Some(open.inode), error);
                }
                return None;
            }
            None => {
                self.open.pop();
                return None;
            }
        };
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(&entry.name);
        let is_second = !open.names.insert(xxh64(&entry.name, 0));
        let choice = self.selection.choose(open.choice, &self.path);
        if is_second && choice == Choice::Whole {
            // Left for the search of what is lost: it is not visited here.
            let reason = "the directory has a second entry of this name";
            self.reports.tell_of(ProblemKind::Missing, self.path.clone(), Some(entry.inode), reason);
            return None;
        }
        let (number, parent_tree, parent_choice) = (open.number, open.inode.tree, open.choice);
        if !entry.inode.is_placeholder() {
            self.visited.add(entry.inode);
        }
        if entry.kind == FileKind::Directory {
            if entry.inode.tree != parent_tree && !self.may_enter_subvolume(&entry, choice, parent_choice, number) {
                return None;
            }
            return self.enter(number, &entry.name, entry.inode, choice);
        }
        let DirEntry { name, kind, inode } = entry;
        let directory = number.filter(|_| choice == Choice::Whole)?;
        Some(Entry { directory, name, inode, kind, after: self.directories.count() })
    }

    /// Whether a subvolume is entered. Of a snapshot that is not, an empty directory is made.
    fn may_enter_subvolume(
        &mut self,
        entry: &DirEntry,
        choice: Choice,
        parent_choice: Choice,
        parent: Option<DirectoryNumber>,
    ) -> bool {
        self.met.insert(entry.inode.tree);
        // A snapshot that a path leads to is entered.
        let is_left_out = parent_choice == Choice::Whole && self.snapshots.contains(&entry.inode.tree);
        if is_left_out && choice == Choice::Whole {
            self.snapshots_left_out.push(self.path.clone());
            if let Some(parent) = parent {
                self.directories.add(parent, &entry.name, Some(entry.inode));
            }
        }
        choice != Choice::Out && !is_left_out
    }

    /// Enters the directory that has the present path. What turns out to be no directory is an entry.
    fn enter(&mut self, parent: Option<DirectoryNumber>, name: &[u8], inode: InodeId, choice: Choice) -> Option<Entry> {
        // All placeholders of a tree have one number, and nothing is in them.
        if !inode.is_placeholder() && self.entered.contains_key(&inode) {
            if choice != Choice::Out {
                let InodeId { tree, ino } = inode;
                let error = Error::File { tree, ino, problem: Box::new(FileProblem::Loop) };
                self.reports.tell_of(ProblemKind::Missing, self.path.clone(), Some(inode), error);
            }
            return None;
        }
        let parent = parent.filter(|_| choice != Choice::Out);
        let read_dir = match self.files.read_dir(inode) {
            Ok(read_dir) => read_dir,
            Err(Error::File { problem, .. }) if *problem == FileProblem::NotDirectory => {
                let directory = parent.filter(|_| choice == Choice::Whole)?;
                let after = self.directories.count();
                return Some(Entry { directory, name: name.to_vec(), inode, kind: FileKind::Unknown, after });
            }
            Err(error) => {
                self.entered.insert(inode, None);
                if choice != Choice::Out {
                    self.reports.tell_of(ProblemKind::Missing, self.path.clone(), Some(inode), error);
                }
                return None;
            }
        };
        let number = match parent {
            Some(parent) => match self.directories.add(parent, name, Some(inode)) {
                Some(number) => Some(number),
                None => {
                    let reason = "there are more directories than can be numbered";
                    self.reports.tell_of(ProblemKind::Missing, self.path.clone(), Some(inode), reason);
                    return None;
                }
            },
            None => None,
        };
        // Most directories are of the subvolume that was entered last.
        if number.is_some() && self.trees.last() != Some(&inode.tree) && !self.trees.contains(&inode.tree) {
            self.trees.push(inode.tree);
            self.met.insert(inode.tree);
        }
        // What is left out is walked only where what has no name is looked for.
        if number.is_some() || self.selection.is_all() {
            self.push(read_dir, inode, number, choice);
        }
        None
    }

    fn push(&mut self, read_dir: ReadDir<'w, 'v>, inode: InodeId, number: Option<DirectoryNumber>, choice: Choice) {
        self.entered.insert(inode, number);
        let (length, names) = (self.path.len(), HashSet::new());
        self.open.push(Open { read_dir, inode, number, choice, length, names });
    }
}
