//! Problems as they come: a few of them for people, all of them for --report.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::Error;
use crate::disk::fields::FieldVisitor;
use crate::dump::json::object::Object;
use crate::dump::put::put;
use crate::extract::{Problem, Summary};
use crate::parallel::lock;

use super::super::output;

/// More problems than this are counted instead of printed.
const SHOWN: u64 = 50;

pub struct Report {
    program: String,
    path: Option<PathBuf>,
    state: Mutex<State>,
}

struct State {
    count: u64,
    out: Option<BufWriter<File>>,
    /// The first error of writing, which ends it.
    failure: Option<std::io::Error>,
}

impl Report {
    /// A report into the file at `path`, if there is one.
    pub fn new(program: &str, path: Option<&Path>) -> Result<Self, Error> {
        let create = |path: &Path| File::create(path).map_err(|source| Error::Target { path: path.to_owned(), source });
        let mut out = path.map(create).transpose()?.map(BufWriter::new);
        let begin = b"{\"schema\":\"rbtrfs.extract/1\",\"problems\":[";
        let failure = out.as_mut().and_then(|out| out.write_all(begin).err());
        let state = Mutex::new(State { count: 0, out, failure });
        Ok(Self { program: program.to_owned(), path: path.map(Path::to_owned), state })
    }

    pub fn add(&self, problem: &Problem) {
        let mut state = lock(&self.state);
        state.count += 1;
        if state.count <= SHOWN {
            output::error(&self.program, problem);
        }
        let is_first = state.count == 1;
        if state.failure.is_some() {
            return;
        }
        if let Some(out) = &mut state.out {
            let mut text = Vec::new();
            put!(&mut text, if is_first { "\n" } else { ",\n" });
            put_problem(problem, &mut text);
            state.failure = out.write_all(&text).err();
        }
    }

    /// Ends the report, of work that came to an end with a summary.
    pub fn end(self, summary: Option<&Summary>) -> Result<(), Error> {
        let State { count, out, mut failure } =
            self.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if count > SHOWN {
            let more = count - SHOWN;
            match &self.path {
                Some(path) => {
                    output::error(&self.program, &format_args!("{more} more are listed in {}", path.display()))
                }
                None => output::error(&self.program, &format_args!("{more} more (--report FILE lists them)")),
            }
        }
        let (Some(mut out), Some(path)) = (out, self.path) else { return Ok(()) };
        let mut text = Vec::new();
        put!(
            &mut text,
            "],\"complete\":",
            if summary.is_some_and(|summary| summary.problems == 0) { "true" } else { "false" }
        );
        put!(&mut text, ",\"ended\":", if summary.is_some() { "true" } else { "false" });
        if let Some(summary) = summary {
            put!(&mut text, ",\"files\":", summary.files, ",\"directories\":", summary.directories);
            put!(&mut text, ",\"bytes\":", summary.bytes, ",\"shared_bytes\":", summary.shared_bytes);
            put!(&mut text, ",\"passed_over\":", summary.passed_over);
        }
        put!(&mut text, "}\n");
        failure = failure.or_else(|| out.write_all(&text).and_then(|()| out.flush()).err());
        match failure {
            Some(source) => Err(Error::Target { path, source }),
            None => Ok(()),
        }
    }
}

fn put_problem(problem: &Problem, out: &mut Vec<u8>) {
    Object::put(out, |object| {
        object.string("kind", problem.kind.code());
        object.text("path", &problem.path);
        if let Some(inode) = problem.inode {
            object.plain("subvolume", inode.tree.0);
            object.plain("inode", inode.ino.0);
        }
        if let Some(range) = &problem.range {
            object.plain("offset", range.start);
            object.plain("length", range.end.saturating_sub(range.start));
        }
        object.string("reason", &problem.reason);
    });
}
