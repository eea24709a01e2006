//! What a long job tells of itself while it runs, and how it is told to stop.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shared by the threads of a job and the caller that watches it.
#[derive(Debug, Default)]
pub struct Progress {
    /// And when it began.
    phase: Mutex<(&'static str, Option<Instant>)>,
    done: AtomicU64,
    total: AtomicU64,
    files: AtomicU64,
    chunks_left: AtomicU64,
    stop: Arc<AtomicBool>,
    observer: Observer,
}

/// What is called as work is done.
#[derive(Default)]
struct Observer(Option<Observe>);

type Observe = Box<dyn Fn(&Progress) + Send + Sync>;

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.0.is_some()).finish()
    }
}

/// A job at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Empty before the job begins.
    pub phase: &'static str,
    /// Since the phase began.
    pub elapsed: Duration,
    /// Bytes of this phase.
    pub done: u64,
    /// Bytes of this phase; 0 if they are not known.
    pub total: u64,
    /// Files of this phase; 0 if it does not count them.
    pub files: u64,
    /// Chunks that the job has yet to do; 0 if it does not count them.
    pub chunks_left: u64,
}

impl Progress {
    /// A job that stops once `stop` is set.
    pub fn new(stop: Arc<AtomicBool>) -> Self {
        Self { stop, ..Self::default() }
    }

    /// The same job, where `observer` is called each time that bytes are done, on the thread that has done them.
    pub fn observed(self, observer: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        Self { observer: Observer(Some(Box::new(observer))), ..self }
    }

    /// Begins a phase of `total` bytes, 0 if that is not known.
    pub fn begin(&self, phase: &'static str, total: u64) {
        let mut current = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        *current = (phase, Some(Instant::now()));
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.files.store(0, Ordering::Relaxed);
    }

    /// Counts bytes that are done.
    pub fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        if let Observer(Some(observer)) = &self.observer {
            observer(self);
        }
    }

    /// Counts files that are done.
    pub fn add_files(&self, files: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
    }

    /// Says how many chunks are left.
    pub fn set_chunks_left(&self, chunks: u64) {
        self.chunks_left.store(chunks, Ordering::Relaxed);
    }

    /// Whether the work is to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The job at this moment.
    pub fn moment(&self) -> Moment {
        let phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let (phase, began) = *phase;
        let elapsed = began.map(|began| began.elapsed()).unwrap_or_default();
        let [done, total, files, chunks_left] =
            [&self.done, &self.total, &self.files, &self.chunks_left].map(|count| count.load(Ordering::Relaxed));
        Moment { phase, elapsed, done, total, files, chunks_left }
    }
}
