//! The inventory of a source: which entry has which number, before anything of a file is read.

use std::fs::File;
use std::io;

use crate::disk::objectid;
use crate::error::{Error, Result};
use crate::parallel::ordered;
use crate::progress::Progress;
use crate::table::{MemoryBudget, Part, Table, Writer as TableWriter};

use super::super::options::MAX_INLINE;
use super::attributes::Attributes;
use super::interface::{Entries, Source, join};
use super::link::{Link, Linked};
use super::listing::{List, Listing};
use super::record::{Directories, Directory, Entries as DirectoryEntries, NewEntry, What, Writer};
use super::request::{ByPath, Request, inherited};
use super::unordered::Unordered;

/// The index of a directory's first entry (`BTRFS_DIR_START_INDEX`).
pub const FIRST_INDEX: u64 = 2;

/// All that is to be in the filesystem.
#[derive(Debug)]
pub struct Inventory {
    /// The top level, and the subvolumes by id.
    pub trees: Vec<Tree>,
    /// What there is of everything.
    pub totals: Totals,
}

/// What there is, to know how much room it takes and how long it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub inodes: u64,
    pub entries: u64,
    /// Bytes of all names.
    pub name_bytes: u64,
    /// Bytes of files, holes left out.
    pub file_bytes: u64,
    /// Bytes of files that may stand in leaves, and how many they are.
    pub inline_bytes: u64,
    pub inline_files: u64,
    /// Bytes that the other files take at most, in whole sectors, and how many they are.
    pub data_bytes: u64,
    pub files: u64,
    /// What of the bytes is of files without holes, and so taken in any case.
    pub dense_inline_bytes: u64,
    pub dense_bytes: u64,
}

/// The files of one subvolume.
#[derive(Debug)]
pub struct Tree {
    pub id: u64,
    /// Nothing for the top level.
    pub hanging: Option<Hanging>,
    pub read_only: bool,
    pub is_default: bool,
    /// Of its root directory.
    pub attributes: Attributes,
    /// What the source finds its root directory by.
    pub root_id: u64,
    records: File,
    /// Bytes of records.
    length: u64,
    /// Further names of files.
    pub links: Table<Link>,
}

/// Where a subvolume hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hanging {
    pub parent_tree: u64,
    pub directory: u64,
    pub index: u64,
    pub name: Vec<u8>,
}

impl Tree {
    /// Its directories, by number.
    pub fn directories(&self) -> Directories<'_> {
        Directories::new(&self.records, 0, self.length)
    }

    pub fn entries(&self, directory: &Directory) -> DirectoryEntries<'_> {
        DirectoryEntries::new(&self.records, directory)
    }

    /// The name of a link.
    pub fn name(&self, link: &Link) -> Result<Vec<u8>> {
        Ok(DirectoryEntries::at(&self.records, link.position).map_err(Error::Temporary)?.name)
    }
}

/// How to take an inventory.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// How many threads read directories.
    pub threads: usize,
    /// Memory for records.
    pub budget: &'a MemoryBudget,
    /// Told of the work, and able to stop it.
    pub progress: &'a Progress,
    /// Bytes of a block of data.
    pub sectorsize: u32,
}

impl Inventory {
    /// Takes the inventory of a source on all threads. Numbers depend on names alone.
    ///
    /// # Errors
    /// A source that cannot be read, an entry that no filesystem can have, and a request that cannot be met.
    pub fn take<S: Source>(source: &S, request: &Request, options: Options<'_>) -> Result<Self> {
        options.progress.begin("directories", 0);
        let entries = match source.entries()? {
            Entries::Listed(list) => return Self::walk(source, list, request, options),
            Entries::Unordered(entries) => entries,
        };
        let entries = entries.map(|entry| if options.progress.is_stopped() { Err(Error::Interrupted) } else { entry });
        let unordered = Unordered::new(source, entries, options.budget)?;
        let inventory = Self::walk(source, &unordered, request, options)?;
        match inventory.totals.entries == unordered.count() {
            true => Ok(inventory),
            false => Err(unordered.lost()?),
        }
    }

    fn walk<S: Source>(source: &S, list: &dyn List, request: &Request, options: Options<'_>) -> Result<Self> {
        let requests = ByPath::new(request, source, list)?;
        let (totals, hanging) = Default::default();
        let mut walk = Walk { source, list, requests: &requests, options, totals, hanging };
        let mut trees = vec![walk.tree(objectid::FS_TREE, Vec::new())?];
        trees[0].read_only = request.top_level().any(|top| top.read_only);
        for (id, subvolume) in request.new_subvolumes() {
            let mut tree = walk.tree(id, requests.path_of(id).unwrap_or_default().to_vec())?;
            (tree.read_only, tree.is_default) = (subvolume.read_only, subvolume.is_default);
            trees.push(tree);
        }
        for (id, hanging) in std::mem::take(&mut walk.hanging) {
            if let Some(tree) = trees.iter_mut().find(|tree| tree.id == id) {
                tree.hanging = Some(hanging);
            }
        }
        if let Some(lost) = trees.iter().skip(1).find(|tree| tree.hanging.is_none()) {
            return Err(Error::Changed { path: source.path_of(requests.path_of(lost.id).unwrap_or_default()) });
        }
        Ok(Self { trees, totals: walk.totals })
    }
}

struct Walk<'a, S> {
    source: &'a S,
    list: &'a dyn List,
    requests: &'a ByPath,
    options: Options<'a>,
    totals: Totals,
    /// Where the subvolumes that were met hang.
    hanging: Vec<(u64, Hanging)>,
}

/// A directory that a thread has listed.
#[derive(Default)]
struct Read {
    directory: Directory,
    listing: Listing,
    outcome: Option<Result<()>>,
}

impl<S: Source> Walk<'_, S> {
    /// Walks what is below `path`, but for other subvolumes, level by level.
    fn tree(&mut self, id: u64, path: Vec<u8>) -> Result<Tree> {
        let (attributes, root_id) = self.list.look_up(&path)?;
        let records = tempfile::tempfile().map_err(Error::Temporary)?;
        let links = TableWriter::new(self.options.budget);
        let flags = self.requests.flags(&path, false);
        let mut numbering = Numbering {
            tree: id,
            next: objectid::FIRST_FREE + 1,
            writer: Writer::new(&records),
            links: &links,
            part: Part::default(),
            linked: Linked::default(),
        };
        self.totals.inodes += 1;
        let first = Directory::new(objectid::FIRST_FREE, flags, path);
        self.level(std::iter::once(Ok(first)), &mut numbering)?;
        let mut start = 0;
        loop {
            numbering.writer.flush().map_err(Error::Temporary)?;
            let end = numbering.writer.position();
            if start == end {
                break;
            }
            let below = Directories::new(&records, start, end).flat_map(|directory| below(&records, directory));
            self.level(below, &mut numbering)?;
            start = end;
        }
        let Numbering { writer, part, .. } = numbering;
        let length = writer.position();
        let links = links.finish(vec![part]).map_err(Error::Temporary)?;
        let (hanging, read_only, is_default) = Default::default();
        Ok(Tree { id, hanging, read_only, is_default, attributes, root_id, records, length, links })
    }

    /// Reads the directories of a level, and writes their entries.
    fn level(
        &mut self,
        directories: impl Iterator<Item = io::Result<Directory>> + Send,
        numbering: &mut Numbering<'_>,
    ) -> Result<()> {
        let (source, list, Options { threads, progress, .. }) = (self.source, self.list, self.options);
        let work = |directory: io::Result<Directory>, read: &mut Read| {
            let outcome = directory.map_err(Error::Temporary).and_then(|directory| {
                read.directory = directory;
                read.listing.clear();
                list.list(&read.directory.path, &mut read.listing)?;
                let unfit = |(name, problem): (Vec<u8>, String)| Error::Unfit {
                    path: source.path_of(&join(&read.directory.path, &name)),
                    problem,
                };
                read.listing.sort().map_err(unfit)
            });
            read.outcome = Some(outcome);
        };
        let emit = |read: &mut Read| {
            read.outcome.take().unwrap_or(Ok(()))?;
            if progress.is_stopped() {
                return Err(Error::Interrupted);
            }
            progress.add_files(read.listing.len() as u64);
            self.number(read, numbering)
        };
        ordered(threads, directories, work, emit)
    }

    /// Gives the entries of a directory their numbers.
    fn number(&mut self, read: &Read, numbering: &mut Numbering<'_>) -> Result<()> {
        let Read { directory, listing, .. } = read;
        let writer = &mut numbering.writer;
        let (count, name_bytes) = (listing.len() as u64, listing.name_bytes() as u64);
        writer.begin(directory, count, name_bytes).map_err(Error::Temporary)?;
        self.totals.entries += count;
        self.totals.name_bytes += name_bytes;
        for ((name, attributes, id), index) in listing.entries().zip(FIRST_INDEX..) {
            if self.requests.is_image(attributes) {
                let path = self.source.path_of(&join(&directory.path, name));
                return Err(Error::Unfit { path, problem: "a filesystem cannot hold itself".to_owned() });
            }
            let (is_file, mut flags) = (attributes.is_file(), 0);
            let mut what = What::INODE;
            let mut target = numbering.next;
            if self.requests.have_paths() {
                let path = join(&directory.path, name);
                let subvolume = self.requests.subvolume(&path).filter(|_| attributes.is_directory());
                if let Some(tree) = subvolume {
                    (what, target) = (What::SUBVOLUME, tree);
                    let (parent_tree, directory) = (numbering.tree, directory.inode);
                    self.hanging.push((tree, Hanging { parent_tree, directory, index, name: name.to_vec() }));
                } else {
                    flags = self.requests.flags(&path, is_file) | inherited(directory.flags, is_file);
                }
            }
            if let Some(inode) = numbering.linked.find(attributes, numbering.next) {
                (what, target) = (What::LINK, inode);
                let position = writer.position();
                numbering.links.push(&mut numbering.part, Link { inode, parent: directory.inode, index, position });
            }
            if what == What::INODE {
                numbering.next += 1;
                self.totals.add(attributes, self.options.sectorsize);
            }
            writer.push(&NewEntry { attributes, what, target, flags, id, name }).map_err(Error::Temporary)?;
        }
        Ok(())
    }
}

impl Totals {
    fn add(&mut self, attributes: &Attributes, sectorsize: u32) {
        self.inodes += 1;
        if !attributes.is_file() {
            return;
        }
        let stored = attributes.stored();
        let dense = |bytes: u64| if attributes.may_have_holes() { 0 } else { bytes };
        self.file_bytes = self.file_bytes.saturating_add(stored);
        if attributes.size <= MAX_INLINE {
            self.inline_bytes += stored;
            self.dense_inline_bytes += dense(stored);
            self.inline_files += 1;
        } else {
            self.files += 1;
            let sectors = stored.checked_next_multiple_of(sectorsize.into()).unwrap_or(u64::MAX);
            self.data_bytes = self.data_bytes.saturating_add(sectors);
            self.dense_bytes = self.dense_bytes.saturating_add(dense(sectors));
        }
    }
}

/// The numbers of one tree.
struct Numbering<'w> {
    tree: u64,
    next: u64,
    writer: Writer<'w>,
    links: &'w TableWriter<'w>,
    part: Part<Link>,
    linked: Linked,
}

/// The directories among the entries of a directory.
fn below(records: &File, directory: io::Result<Directory>) -> impl Iterator<Item = io::Result<Directory>> {
    let (parent, failure) = match directory {
        Ok(directory) => (directory, None),
        Err(error) => (Directory::default(), Some(Err(error))),
    };
    let is_directory = |entry: &io::Result<super::record::Entry>| {
        entry.as_ref().map_or(true, |entry| entry.what == What::INODE && entry.attributes.is_directory())
    };
    let entries = DirectoryEntries::new(records, &parent).filter(is_directory);
    let child = move |entry: io::Result<super::record::Entry>| {
        let entry = entry?;
        Ok(Directory::new(entry.target, entry.flags, join(&parent.path, &entry.name)))
    };
    failure.into_iter().chain(entries.map(child))
}
