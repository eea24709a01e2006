//! Names as ls(1) prints them.

use std::io::{IsTerminal, Write};

use crate::dump::text::clock::Clock;
use crate::files::{Attributes, FileKind, Files};

use super::super::color::{self, Palette};
use super::names::{Errors, Form, Named};

pub struct Text<'o, W> {
    is_long: bool,
    has_inodes: bool,
    /// What a terminal would take for commands is escaped.
    is_terminal: bool,
    palette: Palette,
    out: &'o mut W,
    clock: Clock,
    is_first: bool,
}

impl<'o, W: Write> Text<'o, W> {
    pub fn new(is_long: bool, has_inodes: bool, out: &'o mut W) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        Self {
            is_long,
            has_inodes,
            is_terminal,
            palette: Palette::of_stdout(),
            out,
            clock: Clock::default(),
            is_first: true,
        }
    }

    fn put_name(&self, name: &[u8], line: &mut Vec<u8>) {
        match (self.is_terminal, std::str::from_utf8(name)) {
            (true, Ok(text)) if !text.contains(char::is_control) => line.extend(name),
            (true, _) => line.extend(name.escape_ascii()),
            (false, _) => line.extend(name),
        }
    }

    /// The columns before the name.
    fn columns(&mut self, files: &Files<'_>, named: &Named, errors: &mut Errors<'_>) -> Vec<String> {
        let mut columns = Vec::new();
        if self.has_inodes {
            columns.push(named.inode.ino.to_string());
        }
        if !self.is_long {
            return columns;
        }
        let Some(attributes) = errors.told(&named.path, files.attributes(named.inode)) else {
            columns.extend(["??????????", "?", "?", "?", "?", "?"].map(str::to_owned));
            return columns;
        };
        let acl = files.xattr(named.inode, "system.posix_acl_access").is_ok_and(|acl| acl.is_some());
        columns.push(mode(&attributes) + if acl { "+" } else { "" });
        columns.extend([attributes.nlink, attributes.uid, attributes.gid].map(|number| number.to_string()));
        columns.push(match attributes.kind() {
            FileKind::CharDevice | FileKind::BlockDevice => {
                let (major, minor) = attributes.device();
                format!("{major}, {minor}")
            }
            _ => attributes.size.to_string(),
        });
        let mut time = Vec::new();
        self.clock.put_seconds(attributes.mtime.sec as u64, &mut time);
        columns.push(String::from_utf8_lossy(&time).into_owned());
        columns
    }
}

impl<W: Write> Form for Text<'_, W> {
    fn list(
        &mut self,
        files: &Files<'_>,
        heading: Option<&[u8]>,
        names: &[Named],
        errors: &mut Errors<'_>,
    ) -> anyhow::Result<()> {
        let mut line = Vec::new();
        if !std::mem::replace(&mut self.is_first, false) {
            line.push(b'\n');
        }
        if let Some(heading) = heading {
            self.put_name(heading, &mut line);
            line.extend(b":\n");
        }
        let rows: Vec<Vec<String>> = names.iter().map(|named| self.columns(files, named, errors)).collect();
        let count = rows.first().map_or(0, Vec::len);
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..count).map(width).collect();
        for (named, row) in names.iter().zip(&rows) {
            for (index, (text, width)) in row.iter().zip(&widths).enumerate() {
                // The mode begins with the kind.
                let is_mode = self.is_long && index == usize::from(self.has_inodes);
                line.extend(if is_mode { format!("{text:<width$} ") } else { format!("{text:>width$} ") }.bytes());
            }
            let style = self.palette.style(color::of_file(named.kind));
            line.extend(style.to_string().bytes());
            self.put_name(&named.name, &mut line);
            line.extend(format!("{style:#}").bytes());
            if self.is_long && named.kind == FileKind::Symlink {
                line.extend(b" -> ");
                let target = errors.told(&named.path, files.read_link(named.inode));
                self.put_name(&target.unwrap_or_else(|| b"?".to_vec()), &mut line);
            }
            if self.is_long && named.is_subvolume {
                line.extend(format!(" [subvolume {}]", named.inode.tree).bytes());
            }
            line.push(b'\n');
            self.out.write_all(&line)?;
            line.clear();
        }
        Ok(self.out.write_all(&line)?)
    }

    fn end(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Kind and permissions in ten letters.
pub(super) fn mode(attributes: &Attributes) -> String {
    let kind = match attributes.kind() {
        FileKind::File => '-',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::CharDevice => 'c',
        FileKind::BlockDevice => 'b',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
        FileKind::Unknown => '?',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = attributes.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (attributes.mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}
