//! Runs of the program within limits of time and memory.

use std::path::Path;
use std::process::Command;

use super::PROGRAM;

/// Seconds and KiB that one command may take.
const TIME_LIMIT: u32 = 10;
const MEMORY_LIMIT: u32 = 512 * 1024;

/// A command as it ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Runs rbtrfs within the limits. Past the limit of time `timeout` ends it with exit code 124, past that of memory an
/// allocation fails and aborts it.
pub fn rbtrfs_within_limits(arguments: &[&str], image: &Path) -> Ended {
    let script = format!("ulimit -v {MEMORY_LIMIT}; exec timeout {TIME_LIMIT} \"$@\"");
    let output =
        Command::new("sh").args(["-c", &script, "sh", PROGRAM]).args(arguments).arg(image).output().expect("sh runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ended { code: output.status.code(), stdout: output.stdout, stderr }
}
