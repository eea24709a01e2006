//! The root trees that a filesystem can be read from, besides its own.

use std::fs::File;
use std::io::Write;

use crate::disk::objectid;
use crate::dump::json::object::Object;
use crate::dump::put::put;
use crate::progress::Progress;
use crate::repair::older::{OlderBlocks, RootCandidate, RootSource};
use crate::survey::Job;
use crate::table::MemoryBudget;
use crate::volume::Volume;

use super::super::document::Document;

/// Memory for what the search finds; more goes to temporary files.
const MEMORY: u64 = 64 << 20;

/// Root trees of backup roots and those that a search of all metadata finds, the newest first.
pub fn find(volume: &Volume, threads: usize, progress: &Progress) -> crate::Result<Vec<RootCandidate>> {
    let job = Job { volume, threads, progress };
    let older = OlderBlocks::scan(&job, None, None, &MemoryBudget::new(MEMORY))?;
    Ok(older.roots(&job, objectid::ROOT_TREE))
}

pub fn print(roots: &[RootCandidate], is_json: bool, mut out: File) -> std::io::Result<()> {
    let mut text = Vec::new();
    if is_json {
        put!(&mut text, "{\"schema\":\"rbtrfs.extract-roots/1\",\"roots\":[");
        for (index, candidate) in roots.iter().enumerate() {
            put!(&mut text, if index == 0 { "\n" } else { ",\n" });
            Object::put(&mut text, |object| {
                object.plain("logical", candidate.root.logical.0);
                object.plain("level", candidate.root.level);
                object.plain("generation", candidate.root.generation.unwrap_or_default().0);
                match candidate.source {
                    RootSource::Backup { slot } => object.plain("backup", slot),
                    RootSource::Scan => object.null("backup"),
                }
                object.plain("readable", candidate.readable);
                object.plain("unreadable", candidate.unreadable);
            });
        }
        put!(&mut text, "]}\n");
    } else {
        for candidate in roots {
            let source = match candidate.source {
                RootSource::Backup { slot } => format!("backup {slot}"),
                RootSource::Scan => "found".to_owned(),
            };
            let (readable, unreadable) = (candidate.readable, candidate.unreadable);
            let generation = candidate.root.generation.unwrap_or_default();
            let line = format!(
                "--tree-root {}: generation {generation}, {source}, {readable} of {} blocks readable\n",
                candidate.root.logical,
                readable.saturating_add(unreadable)
            );
            text.extend(line.bytes());
        }
    }
    match is_json {
        true => Document::new(out).write_all(&text),
        false => out.write_all(&text),
    }
}
