//! Work on many threads, with as many as the system has to give; and results that come out in the order of the input.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use rayon::{ThreadPool, ThreadPoolBuilder};
use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};

/// Which result is to be handed out next.
struct Turn<R, E> {
    next: u64,
    /// Whether a thread is handing it out.
    is_emitting: bool,
    /// Results that came before their turn, and what is used again for others.
    early: BTreeMap<u64, R>,
    spare: Vec<R>,
    outcome: Result<(), E>,
    /// Set when a worker panicked: the others no longer wait for their turns.
    abandoned: bool,
}

impl<R, E> Turn<R, E> {
    /// Whether no more results are wanted.
    fn has_ended(&self) -> bool {
        self.outcome.is_err() || self.abandoned
    }

    fn is_turn_of(&self, index: u64) -> bool {
        self.next == index && !self.is_emitting
    }
}

/// Locks. A thread that panicked with the lock held leaves to others what it had done: the panic ends the whole run.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pools that were made, by the number of their threads: a program has one, and makes it once.
static POOLS: Mutex<BTreeMap<usize, Arc<ThreadPool>>> = Mutex::new(BTreeMap::new());

/// A pool of `threads` threads, or of as many as the system gives; nothing if it gives none.
fn pool(threads: usize) -> Option<Arc<ThreadPool>> {
    let mut pools = lock(&POOLS);
    if let Some(pool) = pools.get(&threads) {
        return Some(Arc::clone(pool));
    }
    // A pool that lacks a thread is not made at all.
    let fewer = std::iter::successors(Some(threads), |threads| Some(threads / 2)).take_while(|threads| *threads > 0);
    let build = |threads| ThreadPoolBuilder::new().num_threads(threads).build().ok();
    let pool = Arc::new(fewer.filter_map(build).next()?);
    pools.insert(threads, Arc::clone(&pool));
    Some(pool)
}

/// Runs `worker` on up to `threads` threads at once, the caller's own among them, and returns what each of them returned. Where
/// the system has no more threads to give, or no addresses for them, those that there are do the work. A panic of one of
/// them goes on in the caller.
///
/// A worker may wait for what another one does, but not for one that has not begun: fewer may run than were asked for.
pub fn on_threads<R: Send>(threads: usize, worker: impl Fn() -> R + Sync) -> Vec<R> {
    let threads = threads.min(threads_that_fit());
    let Some(pool) = threads.checked_sub(1).filter(|others| *others > 0).and_then(pool) else { return vec![worker()] };
    let results = Mutex::new(Vec::new());
    pool.in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| {
                let result = worker();
                lock(&results).push(result);
            });
        }
        let result = worker();
        lock(&results).push(result);
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` while `helper` runs on a thread of its own, if there is one to be had.
pub fn beside<T>(helper: impl FnOnce() + Send, work: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        // Without it the work is done all the same.
        let _ = Builder::new().spawn_scoped(scope, helper);
        work()
    })
}

/// How many threads have room for their stacks and heaps in half of the addresses that this process may still have: where
/// they take the rest, too, an allocation fails, which ends the process.
fn threads_that_fit() -> usize {
    /// The stack of a thread, and what the allocator of the C library reserves for its heap.
    const OF_THREAD: u64 = (2 + 64) << 20;
    let Some(left) = addresses_left() else { return usize::MAX };
    1 + usize::try_from(left / 2 / OF_THREAD).unwrap_or(usize::MAX - 1)
}

/// Bytes of addresses that this process may still take (setrlimit(2), RLIMIT_AS); nothing where there is no limit.
pub fn addresses_left() -> Option<u64> {
    let most = getrlimit(Resource::As).current?;
    let pages = std::fs::read_to_string("/proc/self/statm");
    let pages = pages.ok().and_then(|text| text.split_ascii_whitespace().next()?.parse::<u64>().ok());
    Some(most.saturating_sub(pages.unwrap_or_default().saturating_mul(page_size() as u64)))
}

/// Runs `work` on each job of `source` on `threads` threads, and calls `emit` with the results in the order of the
/// source. Memory is bounded: each thread holds one job and one result, and as many results may be there before their turn;
/// they are used again for later jobs. The first error of `emit` ends the run and is returned.
pub fn ordered<J, R: Default + Send, E: Send>(
    threads: usize,
    source: impl Iterator<Item = J> + Send,
    work: impl Fn(J, &mut R) + Sync,
    emit: impl FnMut(&mut R) -> Result<(), E> + Send,
) -> Result<(), E> {
    ordered_then(threads, source, work, emit, |_| Ok(()))
}

/// The same, with what of each result may be done in any order `after` it was emitted, on all threads. Its errors end the
/// run too.
pub fn ordered_then<J, R: Default + Send, E: Send>(
    threads: usize,
    source: impl Iterator<Item = J> + Send,
    work: impl Fn(J, &mut R) + Sync,
    emit: impl FnMut(&mut R) -> Result<(), E> + Send,
    after: impl Fn(&mut R) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let source = Mutex::new(source.enumerate());
    let emit = Mutex::new(emit);
    let (early, spare) = Default::default();
    let turns = Mutex::new(Turn { next: 0, is_emitting: false, early, spare, outcome: Ok(()), abandoned: false });
    let turn_changed = Condvar::new();
    let worker = || {
        let _abandon = OnPanic(|| {
            lock(&turns).abandoned = true;
            turn_changed.notify_all();
        });
        let mut result = R::default();
        loop {
            // Bound to a name so that the source is unlocked before the work begins.
            let next = lock(&source).next();
            let Some((index, job)) = next else { return };
            work(job, &mut result);
            let index = index as u64;
            let waiting =
                |turn: &mut Turn<_, _>| !turn.is_turn_of(index) && turn.early.len() >= threads && !turn.has_ended();
            let mut turn = turn_changed.wait_while(lock(&turns), waiting).unwrap_or_else(PoisonError::into_inner);
            if turn.has_ended() {
                return;
            }
            if !turn.is_turn_of(index) {
                let spare = turn.spare.pop().unwrap_or_default();
                turn.early.insert(index, std::mem::replace(&mut result, spare));
                continue;
            }
            // A thread that hands out a result also hands out the results that wait for it. Others go on with their work meanwhile.
            loop {
                turn.is_emitting = true;
                drop(turn);
                let emitted = lock(&emit)(&mut result);
                let is_emitted = emitted.is_ok();
                turn = lock(&turns);
                turn.outcome = std::mem::replace(&mut turn.outcome, Ok(())).and(emitted);
                turn.next += 1;
                turn.is_emitting = false;
                drop(turn);
                turn_changed.notify_all();
                let done = if is_emitted { after(&mut result) } else { Ok(()) };
                turn = lock(&turns);
                if let Err(error) = done {
                    turn.outcome = std::mem::replace(&mut turn.outcome, Ok(())).and(Err(error));
                }
                let next = turn.next;
                let is_wanted = !turn.is_emitting && !turn.has_ended();
                match is_wanted.then(|| turn.early.remove(&next)).flatten() {
                    Some(early) => turn.spare.push(std::mem::replace(&mut result, early)),
                    None => break,
                }
            }
            drop(turn);
            turn_changed.notify_all();
        }
    };
    on_threads(threads, worker);
    turns.into_inner().unwrap_or_else(PoisonError::into_inner).outcome
}

struct OnPanic<F: Fn()>(F);

impl<F: Fn()> Drop for OnPanic<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)();
        }
    }
}

/// As many threads as the machine runs at once.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::{on_threads, ordered, ordered_then};

    #[test]
    fn a_panic_of_a_thread_is_one_of_the_caller() {
        let caller = std::thread::current().id();
        let worker = || assert_eq!(std::thread::current().id(), caller);
        assert!(std::panic::catch_unwind(|| on_threads(2, worker)).is_err());
        assert_eq!(on_threads(1, || 7), [7]);
    }

    #[test]
    fn results_keep_the_order_of_their_jobs() {
        for threads in [1, 2, 16] {
            let mut seen = Vec::new();
            let work = |job: u32, result: &mut u32| {
                std::thread::sleep(std::time::Duration::from_micros(u64::from(job * 7919 % 50)));
                *result = job;
            };
            let emit = |result: &mut u32| {
                seen.push(*result);
                Ok::<(), ()>(())
            };
            ordered(threads, 0..200, work, emit).unwrap();
            assert!(seen.into_iter().eq(0..200));
        }
    }

    #[test]
    fn an_error_of_the_output_ends_the_run() {
        let emit = |result: &mut u32| if *result == 5 { Err("full") } else { Ok(()) };
        assert_eq!(ordered(4, 0.., |job, result: &mut u32| *result = job, emit), Err("full"));
    }

    #[test]
    fn an_error_after_the_output_ends_the_run() {
        let after = |result: &mut u32| if *result == 5 { Err("full") } else { Ok(()) };
        assert_eq!(ordered_then(4, 0.., |job, result: &mut u32| *result = job, |_| Ok(()), after), Err("full"));
    }
}
