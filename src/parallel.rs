//! Work on many threads whose results come out in the order of the input.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Whose turn it is to hand out a result.
struct Turn<F, E> {
    next: u64,
    emit: F,
    outcome: Result<(), E>,
    /// Set when a worker panicked: nobody waits for its turn any longer.
    abandoned: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` on each job of `source` on `threads` threads, and calls `emit` with the results in the order of the
/// source. Memory is bounded: each thread holds one job and one result, which it uses again for its next job. The first
/// error of `emit` ends the run and is returned.
pub fn ordered<J, R, E>(
    threads: usize,
    source: impl Iterator<Item = J> + Send,
    work: impl Fn(J, &mut R) + Sync,
    emit: impl FnMut(&mut R) -> Result<(), E> + Send,
) -> Result<(), E>
where
    R: Default,
    E: Send,
{
    let source = Mutex::new(source.enumerate());
    let turn = Mutex::new(Turn { next: 0, emit, outcome: Ok(()), abandoned: false });
    let turn_changed = Condvar::new();
    let worker = || {
        let _abandon = OnPanic(|| {
            lock(&turn).abandoned = true;
            turn_changed.notify_all();
        });
        let mut result = R::default();
        loop {
            // Bound to a name so that the source is unlocked before the work begins.
            let next = lock(&source).next();
            let Some((index, job)) = next else { return };
            work(job, &mut result);
            let waiting = |turn: &mut Turn<_, _>| turn.next != index as u64 && turn.outcome.is_ok() && !turn.abandoned;
            let mut turn = turn_changed.wait_while(lock(&turn), waiting).unwrap_or_else(PoisonError::into_inner);
            if turn.outcome.is_err() || turn.abandoned {
                return;
            }
            turn.outcome = (turn.emit)(&mut result);
            turn.next += 1;
            turn_changed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Where the system has no more threads to give, those that there are do the work.
            if std::thread::Builder::new().spawn_scoped(scope, worker).is_err() {
                break;
            }
        }
        worker();
    });
    turn.into_inner().unwrap_or_else(PoisonError::into_inner).outcome
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
    use super::ordered;

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
}
