//! Sorted tables of small records: in memory while there is room, in a temporary file past that.
//!
//! Threads push records into parts of their own. A part that may not grow is sorted and written out as a run; in the
//! end the runs are merged into pages, of which only the first keys stay in memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::parallel::{lock, on_threads};

/// Bytes read and written at once.
const PAGE: usize = 8192;
/// Bytes that a part may always have.
const LEAST_PART: usize = 16 << 10;

/// Bytes of memory that all tables of a job may take together.
#[derive(Debug)]
pub struct MemoryBudget {
    left: AtomicU64,
}

impl MemoryBudget {
    /// A budget of so many bytes.
    pub fn new(bytes: u64) -> Self {
        Self { left: AtomicU64::new(bytes) }
    }

    fn take(&self, bytes: usize) -> bool {
        let take = |left: u64| left.checked_sub(bytes as u64);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A record. Those with equal keys come in the order of the records.
pub trait Record: Copy + Ord + Send + Sync + FromBytes + IntoBytes + Immutable + KnownLayout {
    /// What the table is sorted by.
    fn key(&self) -> u64;

    /// Records that are read at once.
    const PER_PAGE: usize = PAGE / size_of::<Self>();
}

/// The records of one thread.
#[derive(Debug)]
pub struct Part<R> {
    records: Vec<R>,
    /// Bytes taken of the budget.
    taken: usize,
}

impl<R> Default for Part<R> {
    fn default() -> Self {
        Self { records: Vec::new(), taken: 0 }
    }
}

/// A table that is being written.
#[derive(Debug)]
pub struct Writer<'r> {
    budget: &'r MemoryBudget,
    runs: Mutex<Runs>,
}

/// Sorted runs, one after the other in a file.
#[derive(Debug, Default)]
struct Runs {
    file: Option<File>,
    /// Records of each run, from its first to before its last.
    bounds: Vec<(u64, u64)>,
    failure: Option<io::Error>,
}

impl Runs {
    fn append<R: Record>(&mut self, records: &[R]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        let start = self.bounds.last().map_or(0, |(_, end)| *end);
        file.write_all_at(records.as_bytes(), start * size_of::<R>() as u64)?;
        self.bounds.push((start, start + records.len() as u64));
        Ok(())
    }
}

impl<'r> Writer<'r> {
    /// An empty table, whose records may take what `budget` has left.
    pub fn new(budget: &'r MemoryBudget) -> Self {
        Self { budget, runs: Mutex::default() }
    }

    /// Adds a record to the part of this thread.
    pub fn push<R: Record>(&self, part: &mut Part<R>, record: R) {
        if part.records.len() == part.records.capacity() {
            self.make_room(part);
        }
        part.records.push(record);
    }

    fn make_room<R: Record>(&self, part: &mut Part<R>) {
        let more = part.records.capacity().max(LEAST_PART / size_of::<R>());
        let bytes = more * size_of::<R>();
        if self.budget.take(bytes) {
            part.taken += bytes;
        } else if !part.records.is_empty() {
            self.spill(part);
            return;
        }
        part.records.reserve_exact(more);
    }

    /// Writes a part out and empties it. Once that has failed, records are dropped: the table will not be made.
    fn spill<R: Record>(&self, part: &mut Part<R>) {
        part.records.sort_unstable();
        let mut runs = lock(&self.runs);
        if runs.failure.is_none() {
            runs.failure = runs.append(&part.records).err();
        }
        part.records.clear();
    }

    /// The table of all records. Fails if the temporary file could not be written or read.
    pub fn finish<R: Record>(self, mut parts: Vec<Part<R>>) -> io::Result<Table<R>> {
        sort(&mut parts);
        let largest = (0..parts.len()).max_by_key(|index| parts[*index].records.len());
        let mut first = largest.map(|index| parts.swap_remove(index)).unwrap_or_default();
        let others: usize = parts.iter().map(|part| part.records.len() * size_of::<R>()).sum();
        let has_spilled = {
            let runs = lock(&self.runs);
            runs.file.is_some() || runs.failure.is_some()
        };
        if has_spilled || !self.budget.take(others) {
            parts.push(first);
            for part in &mut parts {
                self.spill(part);
                self.budget.give_back(part.taken);
            }
            drop(parts);
            let runs = self.runs.into_inner().unwrap_or_else(PoisonError::into_inner);
            return merge(runs);
        }
        for part in parts {
            first.records.extend_from_slice(&part.records);
            self.budget.give_back(part.taken);
        }
        // The records of each part are in order: they are merged.
        first.records.sort();
        Ok(Table { store: Store::Memory(first.records), failure: Mutex::default() })
    }
}

/// Sorts the records of each part, all at once.
fn sort<R: Record>(parts: &mut [Part<R>]) {
    let count = parts.len();
    let parts = Mutex::new(parts.iter_mut());
    on_threads(count, || {
        loop {
            // Bound to a name so that the other threads go on.
            let next = lock(&parts).next();
            let Some(part) = next else { return };
            part.records.sort_unstable();
        }
    });
}

/// Reads a run page by page.
struct RunReader<'f, R> {
    file: &'f File,
    next: u64,
    end: u64,
    page: Vec<R>,
    position: usize,
}

impl<R: Record> RunReader<'_, R> {
    fn next(&mut self) -> io::Result<Option<R>> {
        if self.position == self.page.len() {
            let count = (self.end - self.next).min(R::PER_PAGE as u64);
            read_records(self.file, self.next, count as usize, &mut self.page)?;
            self.next += count;
            self.position = 0;
        }
        let record = self.page.get(self.position).copied();
        self.position += 1;
        Ok(record)
    }
}

fn read_records<R: Record>(file: &File, first: u64, count: usize, records: &mut Vec<R>) -> io::Result<()> {
    records.resize(count, R::new_zeroed());
    file.read_exact_at(records.as_mut_slice().as_mut_bytes(), first * size_of::<R>() as u64)
}

/// Merges runs into pages.
fn merge<R: Record>(runs: Runs) -> io::Result<Table<R>> {
    let Runs { file, bounds, failure } = runs;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let Some(file) = file else { return Ok(Table::default()) };
    let reader = |(next, end): &(u64, u64)| {
        let (next, end) = (*next, *end);
        RunReader::<R> { file: &file, next, end, page: Vec::new(), position: 0 }
    };
    let mut readers: Vec<_> = bounds.iter().map(reader).collect();
    let mut heads = BinaryHeap::new();
    for (index, reader) in readers.iter_mut().enumerate() {
        heads.extend(reader.next()?.map(|record| Reverse((record, index))));
    }
    let merged = tempfile::tempfile()?;
    let (mut first_keys, mut page, mut count) = (Vec::new(), Vec::<R>::with_capacity(R::PER_PAGE), 0_u64);
    let flush = |page: &mut Vec<R>, count: u64| {
        let first = count - page.len() as u64;
        merged.write_all_at(page.as_slice().as_bytes(), first * size_of::<R>() as u64)?;
        page.clear();
        io::Result::Ok(())
    };
    while let Some(Reverse((record, index))) = heads.pop() {
        if page.is_empty() {
            first_keys.push(record.key());
        }
        page.push(record);
        count += 1;
        if page.len() == R::PER_PAGE {
            flush(&mut page, count)?;
        }
        heads.extend(readers[index].next()?.map(|record| Reverse((record, index))));
    }
    flush(&mut page, count)?;
    Ok(Table { store: Store::File { file: merged, first_keys, count }, failure: Mutex::default() })
}

/// Records by key.
#[derive(Debug)]
pub struct Table<R> {
    store: Store<R>,
    /// The first error of reading the temporary file. What was read after it is not to be used.
    failure: Mutex<Option<io::Error>>,
}

#[derive(Debug)]
enum Store<R> {
    Memory(Vec<R>),
    File {
        file: File,
        /// The first key of each page.
        first_keys: Vec<u64>,
        count: u64,
    },
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self { store: Store::Memory(Vec::new()), failure: Mutex::default() }
    }
}

/// The page that a reader of a table looked at last. A look near it does not read again.
#[derive(Debug)]
pub struct Cursor<R> {
    page: Option<usize>,
    records: Vec<R>,
}

impl<R> Default for Cursor<R> {
    fn default() -> Self {
        Self { page: None, records: Vec::new() }
    }
}

impl<R: Record> Table<R> {
    /// Number of records.
    pub fn count(&self) -> u64 {
        match &self.store {
            Store::Memory(records) => records.len() as u64,
            Store::File { count, .. } => *count,
        }
    }

    /// Whether reading the temporary file failed: nothing that was learned from the table is to be used then.
    pub fn failure(&self) -> Option<io::Error> {
        lock(&self.failure).take()
    }

    /// The page of a table in a file; an empty one behind the last.
    fn page<'c>(&self, index: usize, cursor: &'c mut Cursor<R>) -> &'c [R] {
        let Store::File { file, count, .. } = &self.store else { return &[] };
        if cursor.page != Some(index) {
            let first = index as u64 * R::PER_PAGE as u64;
            let length = count.saturating_sub(first).min(R::PER_PAGE as u64);
            cursor.page = Some(index);
            if let Err(error) = read_records(file, first, length as usize, &mut cursor.records) {
                cursor.records.clear();
                lock(&self.failure).get_or_insert(error);
            }
        }
        &cursor.records
    }

    /// A record with this key.
    pub fn find(&self, key: u64, cursor: &mut Cursor<R>) -> Option<R> {
        let records = match &self.store {
            Store::Memory(records) => records,
            Store::File { first_keys, .. } => {
                let page = first_keys.partition_point(|first| *first <= key).checked_sub(1)?;
                self.page(page, cursor)
            }
        };
        let index = records.binary_search_by_key(&key, R::key).ok()?;
        records.get(index).copied()
    }

    /// The last record with a key below this one.
    pub fn last_before(&self, key: u64) -> Option<R> {
        let mut cursor = Cursor::default();
        let records = match &self.store {
            Store::Memory(records) => records,
            Store::File { first_keys, .. } => {
                self.page(first_keys.partition_point(|first| *first < key).checked_sub(1)?, &mut cursor)
            }
        };
        records.get(records.partition_point(|record| record.key() < key).checked_sub(1)?).copied()
    }

    /// The records with keys from `from` on, in order.
    pub fn iter_from(&self, from: u64) -> Iter<'_, R> {
        let (page, position) = match &self.store {
            Store::Memory(records) => (0, records.partition_point(|record| record.key() < from)),
            // A page may begin with the key that the page before it ends with.
            Store::File { first_keys, .. } => (first_keys.partition_point(|first| *first < from).saturating_sub(1), 0),
        };
        let mut iter = Iter { table: self, cursor: Cursor::default(), page, position };
        while iter.peek().is_some_and(|record| record.key() < from) {
            iter.position += 1;
        }
        iter
    }

    /// The records in order.
    pub fn iter(&self) -> Iter<'_, R> {
        self.iter_from(0)
    }
}

pub struct Iter<'t, R> {
    table: &'t Table<R>,
    cursor: Cursor<R>,
    page: usize,
    position: usize,
}

impl<R: Record> Iter<'_, R> {
    fn peek(&mut self) -> Option<R> {
        if let Store::Memory(records) = &self.table.store {
            return records.get(self.position).copied();
        }
        if self.position == R::PER_PAGE {
            self.page += 1;
            self.position = 0;
        }
        self.table.page(self.page, &mut self.cursor).get(self.position).copied()
    }
}

impl<R: Record> Iterator for Iter<'_, R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        let record = self.peek();
        self.position += usize::from(record.is_some());
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    struct Pair {
        key: u64,
        value: u64,
    }

    impl Record for Pair {
        fn key(&self) -> u64 {
            self.key
        }
    }

    #[test]
    fn a_table_past_its_memory_holds_what_one_within_it_holds() {
        let pairs: Vec<Pair> = (0..100_000_u64).map(|n| Pair { key: n * 7919 % 50_021, value: n }).collect();
        let mut sorted = pairs.clone();
        sorted.sort();
        for bytes in [u64::MAX, 1 << 20, 0] {
            let budget = MemoryBudget::new(bytes);
            let writer = Writer::new(&budget);
            let mut parts = vec![Part::default(), Part::default(), Part::default()];
            for (index, pair) in pairs.iter().enumerate() {
                writer.push(&mut parts[index % 3], *pair);
            }
            let table = writer.finish(parts).unwrap();
            assert!(table.iter().eq(sorted.iter().copied()));
            assert_eq!(table.count(), 100_000);
            let mut cursor = Cursor::default();
            for key in [0, 1, 511, 512, 513, 25_000, 50_020] {
                assert_eq!(table.find(key, &mut cursor).map(|pair| pair.key), Some(key));
                let tail = sorted.iter().copied().filter(|pair| pair.key >= key);
                assert!(table.iter_from(key).eq(tail));
                let before = sorted.iter().copied().rfind(|pair| pair.key < key);
                assert_eq!(table.last_before(key), before);
            }
            assert_eq!(table.find(50_021, &mut cursor), None);
            assert_eq!(table.iter_from(50_021).next(), None);
            assert!(table.failure().is_none());
        }
    }
}
