//! What is extracted at once: some thousands of names, looked at on all threads, and their files in the order of the disk.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::disk::Logical;
use crate::files::{Attributes, FileKind, Files, InodeId, Layout};
use crate::parallel::{lock, on_threads};

use super::directories::DirectoryNumber;
use super::problem::{Problem, ProblemKind, Reports};

/// A name that is no directory, as far as its directory says.
#[derive(Clone, Debug)]
pub struct Entry {
    pub directory: DirectoryNumber,
    pub name: Vec<u8>,
    pub inode: InodeId,
    /// As the directory says.
    pub kind: FileKind,
    /// How many directories were met before it.
    pub after: usize,
}

/// A name, and what its inode is.
pub struct Prepared {
    pub entry: Entry,
    /// As the inode item says, or else the directory.
    pub kind: FileKind,
    /// Why there are none, if there are none.
    pub attributes: Result<Attributes, String>,
    /// Of a regular file.
    pub layout: Layout,
    pub size: u64,
    /// The name under which the inode was extracted before.
    pub link_to: Option<(DirectoryNumber, Box<[u8]>)>,
}

impl Prepared {
    /// What of its attributes is not known or does not agree with the rest.
    pub fn attributes_problem(&self) -> Option<String> {
        let attributes = match &self.attributes {
            Ok(attributes) => attributes,
            Err(error) => return Some(error.clone()),
        };
        let have = self.layout.nbytes.filter(|have| self.kind == FileKind::File && *have != attributes.nbytes)?;
        Some(format!("its extents have {have} bytes, the inode item says {}", attributes.nbytes))
    }
}

impl Prepared {
    /// Tells of ranges that its items do not tell of, as of zeroes or, if it is left out for them, as of the file. Whether there are
    /// any.
    pub fn tell_lost(&self, reports: &Reports<'_>, path: &dyn Fn() -> Vec<u8>, is_left_out: bool) -> bool {
        let inode = Some(self.entry.inode);
        for (range, reason) in &self.layout.lost {
            let (kind, range, path) = match is_left_out {
                true => (ProblemKind::Missing, None, path()),
                false => (ProblemKind::Zeroed, Some(range.clone()), path()),
            };
            reports.tell(Problem { kind, path, inode, range, reason: reason.clone() });
            if is_left_out {
                break;
            }
        }
        !self.layout.lost.is_empty()
    }
}

/// Looks at the inodes of entries; the order stays.
pub fn prepare(files: &Files<'_>, entries: Vec<Entry>, threads: usize) -> Vec<Prepared> {
    /// So many are looked at by a thread at once: those next to each other stand in one leaf.
    const AT_ONCE: usize = 64;
    let parts: Vec<Mutex<Vec<Entry>>> = parts(entries, AT_ONCE).into_iter().map(Mutex::new).collect();
    let done: Vec<Mutex<Vec<Prepared>>> = parts.iter().map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    on_threads(threads, || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(part), Some(done)) = (parts.get(index), done.get(index)) else { return };
            let entries = std::mem::take(&mut *lock(part));
            *lock(done) = entries.into_iter().map(|entry| prepare_one(files, entry)).collect();
        }
    });
    done.into_iter().flat_map(|done| std::mem::take(&mut *lock(&done))).collect()
}

fn parts<T>(items: Vec<T>, length: usize) -> Vec<Vec<T>> {
    let mut parts = Vec::new();
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        parts.push(items.by_ref().take(length).collect());
    }
    parts
}

fn prepare_one(files: &Files<'_>, entry: Entry) -> Prepared {
    let attributes = files.attributes(entry.inode).map_err(|error| error.to_string());
    let kind = match attributes.as_ref().map(Attributes::kind) {
        Ok(FileKind::Unknown) | Err(_) => entry.kind,
        Ok(kind) => kind,
    };
    let (mut layout, mut size) = (Layout::default(), 0);
    if kind == FileKind::File {
        let file = match &attributes {
            Ok(attributes) => files.file_with(entry.inode, *attributes),
            Err(_) => files.file_by_extents(entry.inode),
        };
        if let Ok(mut file) = file {
            (layout, size) = (file.layout(), file.size());
        }
    }
    Prepared { entry, kind, attributes, layout, size, link_to: None }
}

/// Indexes of what is prepared in the order in which its data lies on the disk.
pub fn in_disk_order(prepared: &[Prepared]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..prepared.len()).collect();
    order.sort_by_key(|index| prepared[*index].layout.first.unwrap_or(Logical(0)));
    order
}
