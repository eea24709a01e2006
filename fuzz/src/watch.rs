//! Watches over time and memory from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::random::Random;
use crate::{Target, crash_path};

const TIME_LIMIT: Duration = Duration::from_secs(5);
const MEMORY_LIMIT: u64 = 512 << 20;
const INTERVAL: Duration = Duration::from_millis(20);

/// Ends the process where an input takes too long or too much, after saving it.
pub struct Watch {
    iteration: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Watch {
    /// `new` makes another one of the target that is watched, to make the input anew which is to be saved.
    pub fn start<T: Target + 'static>(new: fn() -> T, seed: u64) -> Self {
        let (iteration, stopped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (current, is_stopped) = (iteration.clone(), stopped.clone());
        let thread = std::thread::spawn(move || {
            let (mut last, mut since) = (0, Instant::now());
            while !is_stopped.load(Ordering::Relaxed) {
                std::thread::sleep(INTERVAL);
                let now = current.load(Ordering::Relaxed);
                if now != last {
                    (last, since) = (now, Instant::now());
                }
                let problem = if since.elapsed() > TIME_LIMIT {
                    "takes too long"
                } else if anonymous_memory() > MEMORY_LIMIT {
                    "takes too much memory"
                } else {
                    continue;
                };
                let target = new();
                let path = crash_path(target.name(), &format!("{seed}-{now}"));
                let saved = target.save(&target.input(Random::new(seed, now)), &path);
                println!("{}: {}: {problem} ({saved:?})", target.name(), path.display());
                std::process::exit(1);
            }
        });
        Self { iteration, stopped, thread }
    }

    /// Says which input is next.
    pub fn begin(&self, iteration: u64) {
        self.iteration.store(iteration, Ordering::Relaxed);
    }

    pub fn stop(self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}

/// `RssAnon` of this process in bytes.
fn anonymous_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
