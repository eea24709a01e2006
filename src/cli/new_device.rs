//! Images that are to become devices.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::device::Occupied;
use crate::error::Error;
use crate::image::{Image, is_in_dev};
use crate::volume::identify;

use super::size;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Bytes of a file that is made, or that is enlarged to it
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    size: Option<u64>,

    /// Overwrite another filesystem or a partition table on the new device
    #[arg(short, long)]
    force: bool,
}

/// An image that can be opened.
pub struct Prepared {
    pub path: PathBuf,
    /// What stood there before; nothing for a file that was made.
    former_size: Option<Option<u64>>,
    /// In its place where nothing is written.
    _stand_in: Option<tempfile::NamedTempFile>,
}

impl Options {
    pub fn occupied(&self) -> Occupied {
        if self.force { Occupied::Overwrite } else { Occupied::Refuse }
    }

    /// Makes or enlarges the file at `path`, which is as long as `default` if nothing is said. Nothing is made and nothing written
    /// in a dry run, which gets another file of that size.
    pub fn prepare(&self, path: &Path, default: Option<u64>, is_dry_run: bool) -> anyhow::Result<Prepared> {
        let as_it_is = Prepared { path: path.to_owned(), former_size: None, _stand_in: None };
        let (former, wanted) = match path.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if is_in_dev(path) {
                    bail!("{}: there is no such device, and no files are made below /dev", path.display());
                }
                let size = self.size.or(default);
                (None, size.with_context(|| format!("{}: does not exist: --size makes a file", path.display()))?)
            }
            Ok(metadata) if metadata.is_file() => match self.size {
                Some(size) if size > metadata.len() => (Some(metadata.len()), size),
                Some(size) if size < metadata.len() => {
                    bail!("{}: has {} bytes, more than --size {size}", path.display(), metadata.len())
                }
                _ => return Ok(as_it_is),
            },
            _ if self.size.is_some() => bail!("{}: --size is for files", path.display()),
            _ => return Ok(as_it_is),
        };
        if is_dry_run {
            let found = former.map(|_| identify(&Image::open_unmapped(path)?)).transpose()?.flatten();
            if let Some(found) = found.filter(|_| !self.force) {
                return Err(Error::Occupied { path: path.to_owned(), found }.into());
            }
            let stand_in = tempfile::NamedTempFile::new().map_err(Error::Temporary)?;
            stand_in.as_file().set_len(wanted).map_err(Error::Temporary)?;
            return Ok(Prepared { path: stand_in.path().to_owned(), former_size: None, _stand_in: Some(stand_in) });
        }
        let opened = match former {
            None => File::create_new(path),
            Some(_) => File::options().write(true).open(path),
        };
        let sized = opened.and_then(|file| file.set_len(wanted));
        let prepared = Prepared { former_size: Some(former), ..as_it_is };
        if let Err(source) = sized {
            prepared.give_up();
            return Err(Error::Resize { path: path.to_owned(), size: wanted, source }.into());
        }
        Ok(prepared)
    }
}

impl Prepared {
    /// Keeps the image if it is, or may be, a device now. Otherwise it becomes what it was.
    pub fn settle<T>(&self, result: &crate::Result<T>) {
        if !matches!(result, Ok(_) | Err(Error::PartlyPublished(_))) {
            self.give_up();
        }
    }

    fn give_up(&self) {
        // The error before tells more than one of these.
        let _ = match self.former_size {
            None => Ok(()),
            Some(None) => std::fs::remove_file(&self.path),
            Some(Some(size)) => File::options().write(true).open(&self.path).and_then(|file| file.set_len(size)),
        };
    }
}

/// What a person may do about an error.
pub fn with_hint(error: crate::Error) -> anyhow::Error {
    match error {
        Error::Occupied { .. } => anyhow::Error::msg(format!("{error}, --force overwrites it")),
        other => other.into(),
    }
}
