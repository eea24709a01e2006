//! Inodes as JSON objects, with all that is known of them.

use std::io::Write;

use crate::disk::fields::FieldVisitor;
use crate::disk::flags;
use crate::dump::json::object::Object;
use crate::dump::put::{HexBytes, put};
use crate::files::{Attributes, ExtentKind, FileExtent, FileKind, Files, Timestamp};

use super::names::{Errors, Form, Named};

/// How objects follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// In an array of one document.
    Document,
    /// A line each.
    Lines,
}

pub struct Json<'o, W> {
    style: Style,
    out: &'o mut W,
    /// What stands before the next object.
    separator: Vec<u8>,
}

impl<'o, W: Write> Json<'o, W> {
    pub fn new(files: &Files<'_>, style: Style, out: &'o mut W) -> Self {
        let mut separator = Vec::new();
        if style == Style::Document {
            let fsid = files.volume().superblock().fsid;
            put!(&mut separator, "{\"schema\":\"rbtrfs.ls/1\",\"fsid\":\"", fsid, "\",\"entries\":[\n");
        }
        Self { style, out, separator }
    }
}

impl<W: Write> Form for Json<'_, W> {
    fn list(
        &mut self,
        files: &Files<'_>,
        _heading: Option<&[u8]>,
        names: &[Named],
        errors: &mut Errors<'_>,
    ) -> anyhow::Result<()> {
        let mut text = Vec::new();
        for named in names {
            text.append(&mut self.separator);
            put_named(files, named, errors, &mut text);
            match self.style {
                Style::Document => self.separator.extend(b",\n"),
                Style::Lines => text.push(b'\n'),
            }
            self.out.write_all(&text)?;
            text.clear();
        }
        Ok(())
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if self.style == Style::Document {
            let begin = if self.separator.starts_with(b"{") { &self.separator[..] } else { b"" };
            self.out.write_all(begin)?;
            self.out.write_all(b"]}\n")?;
        }
        Ok(())
    }
}

fn put_named(files: &Files<'_>, named: &Named, errors: &mut Errors<'_>, out: &mut Vec<u8>) {
    let Named { path, inode, .. } = named;
    Object::put(out, |object| {
        object.text("path", path);
        object.plain("subvolume", inode.tree.0);
        object.plain("inode", inode.ino.0);
        object.bool("is_subvolume", named.is_subvolume);
        let attributes = errors.told(path, files.attributes(*inode));
        let kind = attributes.as_ref().map_or(named.kind, Attributes::kind);
        object.string("kind", kind_name(kind));
        if let Some(attributes) = &attributes {
            put_attributes(attributes, object);
        }
        if kind == FileKind::Symlink
            && let Some(target) = errors.told(path, files.read_link(*inode))
        {
            object.text("target", &target);
        }
        let xattrs = errors.told(path, files.xattrs(*inode)).unwrap_or_default();
        let xattrs: Vec<_> = xattrs.into_iter().filter_map(|xattr| errors.told(path, xattr)).collect();
        object.array("xattrs", xattrs, |xattr, out| {
            Object::put(out, |object| {
                object.text("name", &xattr.name);
                put!(object.member("value"), "\"", HexBytes(&xattr.value), "\"");
            });
        });
        if kind == FileKind::File
            && let Some(mut file) = errors.told(path, files.file(*inode))
        {
            let first = file.extent_at(0);
            let next = |extent: &FileExtent| file.extent_at(extent.offset.saturating_add(extent.length));
            object.array("extents", std::iter::successors(first, next), |extent, out| put_extent(&extent, out));
        }
    });
}

pub(super) fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::CharDevice => "char_device",
        FileKind::BlockDevice => "block_device",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::Unknown => "unknown",
    }
}

fn put_attributes(attributes: &Attributes, object: &mut Object<'_>) {
    object.plain("mode", attributes.mode);
    object.plain("nlink", attributes.nlink);
    object.plain("uid", attributes.uid);
    object.plain("gid", attributes.gid);
    if matches!(attributes.kind(), FileKind::CharDevice | FileKind::BlockDevice) {
        let (major, minor) = attributes.device();
        object.array("device", [major, minor], |number, out| put!(out, number));
    }
    object.plain("size", attributes.size);
    object.plain("nbytes", attributes.nbytes);
    object.flags("flags", attributes.flags, flags::inode::NAMES);
    object.plain("generation", attributes.generation.0);
    object.plain("transid", attributes.transid.0);
    object.plain("sequence", attributes.sequence);
    for (name, time) in [
        ("atime", attributes.atime),
        ("ctime", attributes.ctime),
        ("mtime", attributes.mtime),
        ("otime", attributes.otime),
    ] {
        put_time(name, time, object);
    }
}

pub(super) fn put_time(name: &'static str, time: Timestamp, object: &mut Object<'_>) {
    object.object(name, |object| {
        object.plain("sec", time.sec.to_string().as_str());
        object.plain("nsec", time.nsec);
    });
}

fn put_extent(extent: &FileExtent, out: &mut Vec<u8>) {
    Object::put(out, |object| {
        object.plain("offset", extent.offset);
        object.plain("length", extent.length);
        let compression = match &extent.kind {
            ExtentKind::Hole => {
                object.string("kind", "hole");
                None
            }
            ExtentKind::Prealloc => {
                object.string("kind", "prealloc");
                None
            }
            ExtentKind::Inline { compression } => {
                object.string("kind", "inline");
                *compression
            }
            ExtentKind::Disk(disk) => {
                object.string("kind", "disk");
                object.plain("logical", disk.logical.0);
                object.plain("disk_num_bytes", disk.disk_num_bytes);
                object.plain("ram_bytes", disk.ram_bytes);
                object.plain("extent_offset", disk.offset);
                disk.compression
            }
            ExtentKind::Damaged(problem) => {
                object.string("kind", "damaged");
                object.string("problem", &problem.to_string());
                None
            }
        };
        if let Some(method) = compression {
            object.string("compression", method.name());
        }
    });
}
