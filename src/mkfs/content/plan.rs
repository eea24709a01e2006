//! What there is to read, cut into jobs in the order of the trees' keys.

use std::iter::Peekable;
use std::ops::Range;
use std::sync::Arc;

use crate::disk::objectid;
use crate::error::{Error, Result};
use crate::table;

use super::super::source::{
    At, Attributes, Directories, Directory, DirectoryEntries, FIRST_INDEX, Inventory, Link, Source, SourceFile, Tree,
    What,
};
use super::names::Names;
use super::transfer::Transfer;

/// Bytes of a piece of a file, and of the files that a job reads together.
const PIECE: u64 = 1 << 20;
/// Inodes, and names of directories, that a job has at most if it has more than one.
const BATCH: usize = 256;
const NAMES: usize = 4096;

/// Work for one thread.
pub struct Job<'s, F> {
    pub tree: &'s Tree,
    pub work: Work<F>,
}

pub enum Work<F> {
    Inodes(Vec<Planned<F>>),
    Piece(Piece<F>),
}

/// An inode to be read.
pub struct Planned<F> {
    pub inode: u64,
    pub attributes: Attributes,
    pub flags: u64,
    /// All names, those in one directory together; the first is the one that it is opened by.
    pub names: Vec<PlannedName>,
    /// Of the directory that the first name stands in; of a root directory its own.
    pub directory: Arc<[u8]>,
    /// What the source finds it by.
    pub id: u64,
    pub kind: InodeKind<F>,
}

pub struct PlannedName {
    pub parent: u64,
    pub index: u64,
    pub name: Vec<u8>,
}

pub enum InodeKind<F> {
    Directory(Names),
    /// A file whose pieces follow.
    Large(Arc<Large<F>>),
    Other,
}

/// A file that stays open and is read in pieces.
pub struct Large<F> {
    pub file: F,
    /// In bytes.
    pub size: u64,
    pub segments: Vec<Range<u64>>,
}

/// A part of a large file.
pub struct Piece<F> {
    pub inode: u64,
    pub flags: u64,
    pub file: Arc<Large<F>>,
    /// In whole sectors.
    pub range: Range<u64>,
    /// The hole that ends where this begins, and the one that begins where this ends.
    pub hole_before: Range<u64>,
    pub hole_after: Range<u64>,
    /// Bytes of data from the beginning of this on.
    pub run: u64,
}

/// The ranges of a file that hold data: whole sectors, in order and apart from each other, of which only the last reaches
/// past the end of the file, and none past its last sector.
pub fn segments<S: Source>(source: &S, at: &At<'_>, file: &S::File, sectorsize: u64) -> Result<Vec<Range<u64>>> {
    let segments = file.segments(sectorsize)?;
    let end = at.attributes.size.next_multiple_of(sectorsize);
    let is_sound = |range: &Range<u64>| {
        range.start < range.end && range.start.is_multiple_of(sectorsize) && range.end.is_multiple_of(sectorsize)
    };
    let are_in_order = segments.windows(2).all(|pair| pair[0].end <= pair[1].start);
    if !segments.iter().all(is_sound) || !are_in_order || segments.last().is_some_and(|last| last.end > end) {
        let problem = "has data where none can be".to_owned();
        return Err(Error::Unfit { path: source.path_of(&at.path()), problem });
    }
    Ok(segments)
}

/// How files are cut into jobs.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub sectorsize: u64,
    /// Files larger than this are read in pieces, and smaller ones together.
    pub together: u64,
}

impl Cut {
    /// A file whose blocks are shared stays open until they are: such files are read one by one, so that no more of them
    /// are open than there are threads. Those without a whole sector have nothing to share.
    pub fn new(sectorsize: u32, transfer: Transfer) -> Self {
        let sectorsize = u64::from(sectorsize);
        Self { sectorsize, together: if transfer == Transfer::Shared { sectorsize - 1 } else { PIECE } }
    }
}

/// The jobs of all trees.
pub struct Plan<'s, S: Source> {
    opener: Opener<'s, S>,
    cut: Cut,
    trees: std::slice::Iter<'s, Tree>,
    tree: Option<TreePlan<'s, S::File>>,
    has_failed: bool,
}

/// Opens large files.
struct Opener<'s, S: Source> {
    source: &'s S,
    reader: S::Reader,
}

impl<'s, S: Source> Plan<'s, S> {
    pub fn new(source: &'s S, inventory: &'s Inventory, cut: Cut) -> Self {
        let opener = Opener { source, reader: S::Reader::default() };
        Self { opener, cut, trees: inventory.trees.iter(), tree: None, has_failed: false }
    }

    fn find(&mut self) -> Result<Option<Job<'s, S::File>>> {
        loop {
            if let Some(plan) = &mut self.tree {
                if let Some(work) = plan.next(&mut self.opener, self.cut)? {
                    return Ok(Some(Job { tree: plan.tree, work }));
                }
                // Links that could not be read look as if there were none.
                if let Some(failure) = plan.tree.links.failure() {
                    return Err(Error::Temporary(failure));
                }
            }
            match self.trees.next() {
                Some(tree) => self.tree = Some(TreePlan::new(tree)),
                None => return Ok(None),
            }
        }
    }
}

impl<'s, S: Source> Iterator for Plan<'s, S> {
    type Item = Result<Job<'s, S::File>>;

    fn next(&mut self) -> Option<Self::Item> {
        let job = if self.has_failed { None } else { self.find().transpose() };
        self.has_failed |= matches!(job, Some(Err(_)));
        job
    }
}

/// The jobs of one tree. Inodes are met as entries of directories, which come in the order of the directories' numbers;
/// `listed` follows at a distance, with the entries of those that were met.
struct TreePlan<'s, F> {
    tree: &'s Tree,
    directories: Directories<'s>,
    /// The directory whose entries are met, and the index of the next.
    parent: Option<(u64, Arc<[u8]>, DirectoryEntries<'s>, u64)>,
    listed: Directories<'s>,
    links: Peekable<table::Iter<'s, Link>>,
    has_root: bool,
    /// An inode that begins the next job.
    waiting: Option<Planned<F>>,
    /// A large file whose inode was handed out, and what of its segments was.
    large: Option<Cutting<F>>,
}

struct Cutting<F> {
    inode: u64,
    flags: u64,
    file: Arc<Large<F>>,
    segment: usize,
    position: u64,
}

impl<'s, F: SourceFile> TreePlan<'s, F> {
    fn new(tree: &'s Tree) -> Self {
        Self {
            tree,
            directories: tree.directories(),
            parent: None,
            listed: tree.directories(),
            links: tree.links.iter().peekable(),
            has_root: false,
            waiting: None,
            large: None,
        }
    }

    fn next<S: Source<File = F>>(&mut self, opener: &mut Opener<'_, S>, cut: Cut) -> Result<Option<Work<F>>> {
        if let Some(piece) = self.cut(cut.sectorsize) {
            return Ok(Some(Work::Piece(piece)));
        }
        let mut batch: Vec<Planned<F>> = Vec::new();
        let (mut bytes, mut names) = (0, 0);
        loop {
            let planned = match self.waiting.take() {
                Some(planned) => planned,
                None => match self.find(opener, cut)? {
                    Some(planned) => planned,
                    None => break,
                },
            };
            let (more_bytes, more_names) = match &planned.kind {
                InodeKind::Directory(names) => (0, names.len()),
                InodeKind::Large(_) => (0, 0),
                InodeKind::Other => (planned.attributes.size.min(PIECE), 0),
            };
            let is_full = batch.len() == BATCH || bytes + more_bytes > PIECE || names + more_names > NAMES;
            if is_full && !batch.is_empty() {
                self.waiting = Some(planned);
                break;
            }
            (bytes, names) = (bytes + more_bytes, names + more_names);
            let large = match &planned.kind {
                InodeKind::Large(file) => Some(Arc::clone(file)),
                _ => None,
            };
            let (inode, flags) = (planned.inode, planned.flags);
            batch.push(planned);
            if let Some(file) = large {
                self.large = Some(Cutting { inode, flags, file, segment: 0, position: 0 });
                break;
            }
        }
        Ok((!batch.is_empty()).then_some(Work::Inodes(batch)))
    }

    /// The next piece of a large file.
    fn cut(&mut self, sectorsize: u64) -> Option<Piece<F>> {
        let cutting = self.large.as_mut()?;
        let segments = &cutting.file.segments;
        let Some(segment) = segments.get(cutting.segment) else {
            self.large = None;
            return None;
        };
        let hole_before = cutting.position..segment.start.max(cutting.position);
        let start = hole_before.end;
        let end = segment.end.min(start + PIECE);
        let run = segment.end - start;
        (cutting.segment, cutting.position) = (cutting.segment + usize::from(end == segment.end), end);
        let size = cutting.file.size.next_multiple_of(sectorsize);
        let hole_after = if cutting.segment == segments.len() { end..size.max(end) } else { end..end };
        let Cutting { inode, flags, .. } = *cutting;
        Some(Piece { inode, flags, file: Arc::clone(&cutting.file), range: start..end, hole_before, hole_after, run })
    }

    /// The next inode.
    fn find<S: Source<File = F>>(&mut self, opener: &mut Opener<'_, S>, cut: Cut) -> Result<Option<Planned<F>>> {
        if !self.has_root {
            self.has_root = true;
            return self.root().map(Some);
        }
        loop {
            let Some((parent, path, entries, index)) = &mut self.parent else {
                let Some(directory) = self.directories.next() else { return Ok(None) };
                let directory = directory.map_err(Error::Temporary)?;
                let entries = self.tree.entries(&directory);
                self.parent = Some((directory.inode, directory.path.into(), entries, FIRST_INDEX));
                continue;
            };
            let Some(entry) = entries.next() else {
                self.parent = None;
                continue;
            };
            let entry = entry.map_err(Error::Temporary)?;
            let name = PlannedName { parent: *parent, index: *index, name: entry.name };
            *index += 1;
            if entry.what != What::INODE {
                continue;
            }
            let (attributes, inode, id, directory) = (entry.attributes, entry.target, entry.id, Arc::clone(path));
            let mut names = vec![name];
            while let Some(link) = self.links.next_if(|link| link.inode == inode) {
                names.push(PlannedName { parent: link.parent, index: link.index, name: self.tree.name(&link)? });
            }
            let kind = if attributes.is_directory() {
                InodeKind::Directory(self.names()?.1)
            } else if attributes.is_file() && attributes.size > cut.together {
                let at = At { id, directory: &directory, name: &names[0].name, attributes: &attributes };
                let file = opener.source.open(&mut opener.reader, &at)?;
                let segments = segments(opener.source, &at, &file, cut.sectorsize)?;
                opener.source.rest(&mut opener.reader);
                InodeKind::Large(Arc::new(Large { file, size: attributes.size, segments }))
            } else {
                InodeKind::Other
            };
            return Ok(Some(Planned { inode, attributes, flags: entry.flags, names, directory, id, kind }));
        }
    }

    fn root(&mut self) -> Result<Planned<F>> {
        let (directory, names) = self.names()?;
        let inode = objectid::ROOT_DIR;
        let dots = PlannedName { parent: inode, index: 0, name: b"..".to_vec() };
        let (attributes, flags, path) = (self.tree.attributes, directory.flags, directory.path.into());
        let (names, kind, id) = (vec![dots], InodeKind::Directory(names), self.tree.root_id);
        Ok(Planned { inode, attributes, flags, names, directory: path, id, kind })
    }

    /// The names in the directory that comes next by number.
    fn names(&mut self) -> Result<(Directory, Names)> {
        let directory = self.listed.next().unwrap_or(Err(std::io::ErrorKind::UnexpectedEof.into()));
        let directory = directory.map_err(Error::Temporary)?;
        let mut names = Names::default();
        for entry in self.tree.entries(&directory) {
            names.push(&entry.map_err(Error::Temporary)?);
        }
        Ok((directory, names))
    }
}
