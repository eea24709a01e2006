//! Telling how far a long job has come.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::parallel::beside;
use crate::progress::{Moment, Progress};

/// How to tell, on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    Nothing,
    Bar,
    /// A line each second, for logs.
    Lines,
}

impl Display {
    /// A bar on a terminal, lines elsewhere if `wanted`.
    pub fn choose(wanted: bool, quiet: bool) -> Self {
        match io::stderr().is_terminal() {
            _ if quiet => Self::Nothing,
            true => Self::Bar,
            false if wanted => Self::Lines,
            false => Self::Nothing,
        }
    }

    /// As [`Display::choose`], for work that writes to `out` as it goes on: nothing but a file leaves the terminal to the bar. What
    /// reads a pipe may be a pager.
    pub fn beside_output(out: &File, quiet: bool) -> Self {
        let is_file = out.metadata().is_ok_and(|metadata| metadata.is_file());
        if is_file { Self::choose(false, quiet) } else { Self::Nothing }
    }
}

/// Does `work` that counts nothing, and tells that it goes on.
pub fn busy<T>(phase: &'static str, quiet: bool, work: impl FnOnce() -> T) -> T {
    let progress = Progress::default();
    progress.begin(phase, 0);
    watched(Display::choose(false, quiet), &progress, work)
}

/// Output that counts as done what was written.
pub struct Counted<'p, W> {
    pub out: W,
    pub progress: &'p Progress,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.progress.add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Does `work`, and tells of its progress meanwhile.
pub fn watched<T>(display: Display, progress: &Progress, work: impl FnOnce() -> T) -> T {
    let (working, ended) = channel::<()>();
    let work = || {
        // Also dropped if the work panics: the thread that prints ends then, too.
        let _working = working;
        work()
    };
    match display {
        Display::Nothing => work(),
        Display::Bar => beside(|| draw(progress, ended), work),
        Display::Lines => beside(|| log(progress, ended), work),
    }
}

fn draw(progress: &Progress, ended: Receiver<()>) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = |template| ProgressStyle::with_template(template).expect("the template is sound");
    let (known, unknown) = (style("[{bar:30}] {msg}"), style("{spinner} {msg}"));
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(Duration::from_millis(100)) {
        let moment = progress.moment();
        bar.set_style(if moment.total == 0 { unknown.clone() } else { known.clone() });
        bar.set_length(moment.total.max(moment.done));
        bar.set_position(moment.done);
        bar.set_message(line(&moment));
        bar.tick();
    }
    bar.finish_and_clear();
}

fn log(progress: &Progress, ended: Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(Duration::from_secs(1)) {
        let _ = writeln!(io::stderr(), "{}", line(&progress.moment()));
    }
}

fn line(moment: &Moment) -> String {
    let Moment { phase, elapsed, done, total, files, chunks_left } = *moment;
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let mut counts = Vec::new();
    if done > 0 || total > 0 {
        counts.push(format!("{}, {}/s", HumanBytes(done), HumanBytes(rate as u64)));
    }
    if files > 0 {
        counts.push(format!("{files} files"));
    }
    if chunks_left > 0 {
        counts.push(format!("{chunks_left} chunks left"));
    }
    if total > 0 && rate > 0.0 {
        let left = Duration::from_secs_f64(total.saturating_sub(done) as f64 / rate);
        counts.push(format!("{}%, {} left", done.min(total) * 100 / total, HumanDuration(left)));
    }
    if counts.is_empty() {
        counts.push(HumanDuration(elapsed).to_string());
    }
    format!("{phase}: {}", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_phase_rate_and_time_left() {
        let elapsed = Duration::from_secs(2);
        let moment = Moment { phase: "trees", elapsed, done: 64 << 20, total: 256 << 20, files: 0, chunks_left: 0 };
        assert_eq!(line(&moment), "trees: 64.00 MiB, 32.00 MiB/s, 25%, 6 seconds left");
        assert_eq!(line(&Moment { total: 0, ..moment }), "trees: 64.00 MiB, 32.00 MiB/s");
        assert_eq!(line(&Moment { total: 0, files: 7, ..moment }), "trees: 64.00 MiB, 32.00 MiB/s, 7 files");
        assert_eq!(line(&Moment { total: 0, done: 0, ..moment }), "trees: 2 seconds");
        let chunks = Moment { chunks_left: 3, ..moment };
        assert_eq!(line(&chunks), "trees: 64.00 MiB, 32.00 MiB/s, 3 chunks left, 25%, 6 seconds left");
    }
}
