//! What a problem means for a person.

use crate::disk::superblock::SUPER_OFFSETS;
use crate::finding::{Finding, ProblemKind, Severity};

use super::{Problem, SuperblockProblem};

/// What is at stake, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Harm {
    /// The kernel refuses the filesystem, or one of its devices.
    Mount,
    /// Tree blocks or extents cannot be read, and with them what only they hold.
    Reach,
    /// Files, names or subvolumes are not what they were.
    Files,
    /// All is there, but a copy of it is not: one more failure loses it.
    Redundancy,
    /// What other trees tell anyway is wrong: a repair makes it anew.
    Derived,
    /// No harm yet.
    Harmless,
    /// Worth knowing, and no damage.
    Note,
}

impl Harm {
    /// What it is called above the problems of its kind.
    pub fn title(self) -> &'static str {
        match self {
            Self::Mount => "Would not mount: the kernel refuses the filesystem or a device",
            Self::Reach => "Out of reach: tree blocks or extents that cannot be used, and what only they hold",
            Self::Files => "Files affected: contents, names or subvolumes are not what they were",
            Self::Redundancy => "Redundancy lost: all is there, but one more failure loses it",
            Self::Derived => "Only derived data: a repair makes it anew",
            Self::Harmless => "No harm yet",
            Self::Note => "Notes: no damage",
        }
    }
}

impl Harm {
    /// What problems of a kind mean at the worst.
    pub fn of_kind(kind: &ProblemKind) -> Self {
        match kind.severity {
            Severity::Note => Self::Note,
            _ => known(kind.code).unwrap_or(Self::Reach),
        }
    }
}

impl Problem {
    /// What the problem means for a person: the same for all problems of a kind, but for copies of the superblock, of which the
    /// kernel mounts by the first.
    pub fn harm(&self) -> Harm {
        use SuperblockProblem::{Bytenr, Csum, Magic, Unreadable};
        if self.severity() == Severity::Note {
            return Harm::Note;
        }
        match self {
            Self::Superblock(
                Unreadable { offset, .. } | Magic { offset, .. } | Csum { offset, .. } | Bytenr { offset, .. },
            ) if *offset != SUPER_OFFSETS[0] => Harm::Redundancy,
            _ => known(self.code()).unwrap_or(Harm::Reach),
        }
    }
}

/// What problems with this code mean, where they are more than notes.
fn known(code: &str) -> Option<Harm> {
    Some(match code {
        "device-stale"
        | "super-stale"
        | "super-mirror"
        | "block-bad-copy"
        | "block-copies-differ"
        | "data-bad-copy"
        | "parity-bad"
        | "parity-disagrees" => Harm::Redundancy,
        "super-bytes-used"
        | "super-total-bytes-long"
        | "device-bytes-used"
        | "device-size-unaligned"
        | "block-group-used"
        | "block-group-tree"
        | "csum-without-extent"
        | "csum-unexpected"
        | "csum-prealloc" => Harm::Derived,
        "super-compat-ro"
        | "super-error-flag"
        | "block-crosses-stripe"
        | "block-chunk-tree-uuid"
        | "dev-item-unaligned"
        | "inode-time"
        | "inode-ref-root" => Harm::Harmless,
        "chunk-unavailable"
        | "extent-outside"
        | "extent-low"
        | "extent-over-superblock"
        | "tree-missing"
        | "key-order" => Harm::Reach,
        "system-chunk-foreign" | "state-item-key" => Harm::Mount,
        "inode-cache" => Harm::Files,
        _ => return of_family(code),
    })
}

/// Kinds that mean the same go by the first words of their codes.
fn of_family(code: &str) -> Option<Harm> {
    let families: &[(Harm, &[&str])] = &[
        (
            Harm::Mount,
            &[
                "super-",
                "sys-array-",
                "chunk-",
                "stripe-",
                "device-",
                "dev-",
                "seed-",
                "balance-",
                "zoned-",
                "block-group-",
                "log-",
                "dir-log-",
            ],
        ),
        (Harm::Reach, &["block-", "leaf-", "node-", "item-", "map-", "raid-stripe-", "remap-", "root-item-"]),
        (
            Harm::Files,
            &[
                "data-",
                "file-extent-",
                "inode-",
                "orphan-",
                "verity-",
                "name-",
                "dir-i",
                "extref-",
                "directory-",
                "link-",
                "csum-",
                "root-",
                "subvolume-",
            ],
        ),
        (
            Harm::Derived,
            &[
                "extent-",
                "metadata-item-",
                "inline-ref-",
                "backref-",
                "free-space-",
                "space-cache-",
                "qgroup-",
                "uuid-",
            ],
        ),
    ];
    let is_of = |families: &[&str]| families.iter().any(|family| code.starts_with(family));
    families.iter().find(|(_, families)| is_of(families)).map(|(harm, _)| *harm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Physical;

    #[test]
    fn no_kind_of_problem_is_without_a_meaning() {
        let damage = Problem::kinds().filter(|kind| kind.severity > Severity::Note);
        let without: Vec<&str> = damage.map(|kind| kind.code).filter(|code| known(code).is_none()).collect();
        assert!(without.is_empty(), "{without:?}");
    }

    #[test]
    fn every_code_that_is_named_is_one_of_a_problem() {
        let codes: Vec<&str> = Problem::kinds().map(|kind| kind.code).collect();
        let source = include_str!("harm.rs").split("#[cfg(test)]").next().unwrap();
        let table = source.split("fn known(").nth(1).unwrap();
        let (named, families) = table.split_once("fn of_family(").unwrap();
        let words = |text: &'static str| text.split('"').skip(1).step_by(2);
        for word in words(named) {
            assert!(codes.contains(&word), "{word}");
        }
        for family in words(families) {
            assert!(codes.iter().any(|code| code.starts_with(family)), "{family}");
        }
    }

    #[test]
    fn a_mirror_of_the_superblock_keeps_nothing_from_a_mount() {
        let at = |offset: Physical| Problem::from(SuperblockProblem::Csum { devid: 1, offset }).harm();
        assert_eq!(SUPER_OFFSETS.map(at), [Harm::Mount, Harm::Redundancy, Harm::Redundancy]);
    }
}
