//! What programs can tell of an error: its code, and where it was met.

use std::path::Path;

use crate::disk::Physical;

use super::Error;

impl Error {
    /// The stable code of its kind, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::NotAnImage { .. } => "not-an-image",
            Self::InUse { .. } => "in-use",
            Self::ReadOnly { .. } => "read-only",
            Self::Read { .. } => "read",
            Self::Short { .. } => "short",
            Self::Write { .. } => "write",
            Self::PastEnd { .. } => "past-end",
            Self::Sync { .. } => "sync",
            Self::Occupied { .. } => "occupied",
            Self::Resize { .. } => "resize",
            Self::TooSmall { .. } => "too-small",
            Self::SmallDevice { .. } => "small-device",
            Self::NotBtrfs { .. } => "not-btrfs",
            Self::Truncated { .. } => "truncated",
            Self::Superblock { .. } => "superblock",
            Self::Unrelated { .. } => "unrelated",
            Self::MissingDevice { .. } => "missing-device",
            Self::StaleDevice { .. } => "stale-device",
            Self::Block { .. } => "block",
            Self::Extent { .. } => "extent",
            Self::Edit { .. } => "edit",
            Self::File { .. } => "file",
            Self::NoTree { .. } => "no-tree",
            Self::Tree { .. } => "tree",
            Self::SimpleQuotas => "simple-quotas",
            Self::TooMuch => "too-much",
            Self::Device { .. } => "device",
            Self::DeviceInUse { .. } => "device-in-use",
            Self::LastDevice { .. } => "last-device",
            Self::TooFewDevices { .. } => "too-few-devices",
            Self::DeviceSize { .. } => "device-size",
            Self::NoSpace { .. } => "no-space",
            Self::Damaged { .. } => "damaged",
            Self::Internal { .. } => "internal",
            Self::NoMirror { .. } => "no-mirror",
            Self::FewDevices { .. } => "few-devices",
            Self::ChunkSize { .. } => "chunk-size",
            Self::SysChunkArrayFull { .. } => "sys-chunk-array-full",
            Self::NoChunk { .. } => "no-chunk",
            Self::ChunkInUse { .. } => "chunk-in-use",
            Self::LastChunk { .. } => "last-chunk",
            Self::Balance(_) => "balance",
            Self::PendingLog => "pending-log",
            Self::Replacing => "replacing",
            Self::Relocation(_) => "relocation",
            Self::NeverSettles { .. } => "never-settles",
            Self::Poisoned => "poisoned",
            Self::PartlyPublished(_) => "partly-published",
            Self::Undo { .. } => "undo",
            Self::PartlyUndone(_) => "partly-undone",
            Self::NoBackupRoot => "no-backup-root",
            Self::Target { .. } => "target",
            Self::Source { .. } => "source",
            Self::Changed { .. } => "changed",
            Self::NotShared { .. } => "not-shared",
            Self::Compression { .. } => "compression",
            Self::Unfit { .. } => "unfit",
            Self::Temporary(_) => "temporary",
            Self::Interrupted => "interrupted",
            Self::Output(_) => "output",
        }
    }

    /// The file or device that it was met at, where it is of a single one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Open { path, .. }
            | Self::NotAnImage { path, .. }
            | Self::InUse { path, .. }
            | Self::ReadOnly { path, .. }
            | Self::Read { path, .. }
            | Self::Short { path, .. }
            | Self::Write { path, .. }
            | Self::PastEnd { path, .. }
            | Self::Sync { path, .. }
            | Self::Occupied { path, .. }
            | Self::Resize { path, .. }
            | Self::TooSmall { path, .. }
            | Self::SmallDevice { path, .. }
            | Self::NotBtrfs { path, .. }
            | Self::Truncated { path, .. }
            | Self::Superblock { path, .. }
            | Self::StaleDevice { path, .. }
            | Self::Undo { path, .. }
            | Self::Target { path, .. }
            | Self::Source { path, .. }
            | Self::Changed { path, .. }
            | Self::NotShared { path, .. }
            | Self::Unfit { path, .. } => Some(path),
            Self::Unrelated { second, .. } => Some(second),
            Self::PartlyUndone(error) => error.path(),
            _ => None,
        }
    }

    /// Where on the device it was met.
    pub fn offset(&self) -> Option<Physical> {
        match self {
            Self::Read { offset, .. }
            | Self::Short { offset, .. }
            | Self::Write { offset, .. }
            | Self::PastEnd { offset, .. }
            | Self::Superblock { offset, .. } => Some(*offset),
            Self::PartlyUndone(error) => error.offset(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// The arms of [`super::Error::code`] as they stand in this file: variants and codes.
    fn arms() -> impl Iterator<Item = (&'static str, &'static str)> {
        include_str!("code.rs").lines().filter_map(|line| {
            let (variant, code) = line.trim().strip_prefix("Self::")?.split_once(" => \"")?;
            Some((variant.split([' ', '(']).next()?, code.strip_suffix("\",")?))
        })
    }

    fn kebab(variant: &str) -> String {
        let words = variant.char_indices().map(|(index, letter)| match letter.is_uppercase() && index > 0 {
            true => format!("-{}", letter.to_lowercase()),
            false => letter.to_lowercase().to_string(),
        });
        words.collect()
    }

    #[test]
    fn each_code_is_the_name_of_one_variant() {
        let declared = include_str!("../error.rs").split("pub enum Error {").nth(1).unwrap();
        let is_variant = |line: &&str| line.starts_with("    ") && line[4..].starts_with(char::is_uppercase);
        let name = |line: &str| line.trim().split([' ', '(', ',']).next().unwrap().to_owned();
        let declared: BTreeSet<String> = declared.lines().filter(is_variant).map(name).collect();
        let arms: Vec<_> = arms().collect();
        assert_eq!(arms.iter().map(|(variant, _)| (*variant).to_owned()).collect::<BTreeSet<_>>(), declared);
        for (variant, code) in &arms {
            assert_eq!(*code, kebab(variant));
        }
        assert_eq!(arms.iter().map(|(_, code)| code).collect::<BTreeSet<_>>().len(), arms.len(), "a code stands twice");
        assert!(arms.iter().all(|(_, code)| *code != "usage" && *code != "failed"), "what the programs say themselves");
    }
}
