//! Hostile input for everything that reads disk bytes. See `run` for how to use it.
//!
//! Inputs are made by damaging a good filesystem, with knowledge of its structure and with checksums made right again.
//! Input number N of a seed is always the same one.

#![forbid(unsafe_code)]

mod block;
mod image;
mod mutate;
mod random;
#[path = "../../tests/fixtures/small_image.rs"]
#[allow(dead_code)] // each user of the module uses a part of it
mod small_image;
mod superblock;
mod watch;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use random::Random;
use watch::Watch;

/// Something that reads disk bytes.
pub trait Target {
    type Input;

    fn name(&self) -> &'static str;
    /// Makes an input; the same one for the same random numbers.
    fn input(&self, random: Random) -> Self::Input;
    /// Panics if there is a bug.
    fn run(&self, input: &Self::Input);
    fn save(&self, input: &Self::Input, path: &Path) -> std::io::Result<()>;
    fn load(&self, path: &Path) -> std::io::Result<Self::Input>;
}

/// Panics if this is no JSON document.
pub fn assert_json(text: &[u8]) {
    assert!(std::str::from_utf8(text).is_ok(), "JSON is not UTF-8");
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(text) {
        panic!("JSON is damaged: {error}");
    }
}

struct Options {
    seconds: u64,
    seed: u64,
    target: Option<String>,
    files: Vec<PathBuf>,
}

fn options() -> Option<Options> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let mut options = Options { seconds: 60, seed: now, target: None, files: Vec::new() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => options.seconds = args.next()?.parse().ok()?,
            "--seed" => options.seed = args.next()?.parse().ok()?,
            "--target" => options.target = Some(args.next()?),
            option if option.starts_with('-') => return None,
            file => options.files.push(file.into()),
        }
    }
    (options.files.is_empty() || options.target.is_some()).then_some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("usage: run [--seconds N] [--seed N] [--target NAME] [FILE...]   (FILEs need a target)");
        return ExitCode::from(2);
    };
    println!("seed {}", options.seed);
    let mut found = 0;
    let mut known = false;
    for (name, run) in [
        ("superblock", (|options| fuzz(superblock::Superblocks::new, options)) as fn(&Options) -> usize),
        ("sys-array", |options| fuzz(superblock::SysChunkArrays::new, options)),
        ("leaf", |options| fuzz(block::Blocks::leaves, options)),
        ("node", |options| fuzz(block::Blocks::nodes, options)),
        ("image", |options| fuzz(image::Images::new, options)),
    ] {
        if options.target.as_ref().is_none_or(|target| target == name) {
            known = true;
            found += run(&options);
        }
    }
    if !known {
        eprintln!("no such target: superblock, sys-array, leaf, node or image");
        return ExitCode::from(2);
    }
    ExitCode::from(u8::from(found > 0))
}

/// Runs a target until its time is up, or on the files alone, and returns the number of different panics.
fn fuzz<T: Target + 'static>(new: fn() -> T, options: &Options) -> usize {
    let target = new();
    let mut panics = Panics::default();
    for file in &options.files {
        match target.load(file) {
            Ok(input) => panics.run(&target, &input, None),
            Err(error) => eprintln!("{}: {error}", file.display()),
        }
    }
    if !options.files.is_empty() {
        return panics.places.len();
    }
    let watch = Watch::start(new, options.seed);
    let (start, limit) = (Instant::now(), Duration::from_secs(options.seconds));
    let mut count = 0;
    while start.elapsed() < limit {
        watch.begin(count);
        let input = target.input(Random::new(options.seed, count));
        panics.run(&target, &input, Some(format!("{}-{count}", options.seed)));
        count += 1;
    }
    watch.stop();
    let each_second = count as f64 / start.elapsed().as_secs_f64();
    let (name, found) = (target.name(), panics.places.len());
    println!("{name}: {count} inputs, {each_second:.0}/s, {found} different panics");
    found
}

/// Where panics came from. One input is saved for each place.
#[derive(Default)]
struct Panics {
    places: BTreeSet<String>,
}

impl Panics {
    fn run<T: Target>(&mut self, target: &T, input: &T::Input, save_as: Option<String>) {
        let place = Arc::new(Mutex::new(String::new()));
        let seen = place.clone();
        std::panic::set_hook(Box::new(move |panic| {
            if let Ok(mut seen) = seen.lock() {
                *seen = panic.to_string();
            }
        }));
        let outcome = catch_unwind(AssertUnwindSafe(|| target.run(input)));
        let _ = std::panic::take_hook();
        if outcome.is_ok() {
            return;
        }
        let message = place.lock().map(|place| place.clone()).unwrap_or_default();
        let location = message.lines().next().unwrap_or_default().to_owned();
        if !self.places.insert(location) {
            return;
        }
        let saved = save_as.map(|name| crash_path(target.name(), &name));
        let saved = saved.map(|path| target.save(input, &path).map(|()| path));
        match saved {
            None => println!("{}: {message}", target.name()),
            Some(Ok(path)) => println!("{}: {}: {message}", target.name(), path.display()),
            Some(Err(error)) => println!("{}: not saved: {error}: {message}", target.name()),
        }
    }
}

/// Where an input is saved.
fn crash_path(target: &str, name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("crashes");
    let _ = std::fs::create_dir_all(&directory);
    directory.join(format!("{target}-{name}"))
}
