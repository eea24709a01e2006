//! Features by the names that `-O` and `-R` know.

use crate::disk::flags::{compat_ro, incompat};

/// How quotas are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotas {
    /// Quota groups that count shared extents.
    Full,
    /// Simple quotas: the subvolume that wrote an extent first is charged.
    Simple,
}

/// Which features a filesystem has, as far as they are chosen by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// [`incompat`] flags.
    pub incompat: u64,
    /// [`compat_ro`] flags.
    pub compat_ro: u64,
    /// Whether data and metadata are in the same block groups.
    pub mixed: bool,
    /// Whether quota groups count shared extents.
    pub full_quotas: bool,
    /// Whether there are simple quotas.
    pub simple_quotas: bool,
    /// Those of `compat_ro` that were asked for by name. The others are defaults, which other choices may rule out.
    pub named: u64,
}

/// A name that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFeature {
    /// No feature has the name.
    #[error("unknown feature {0:?}, -O list-all prints those that there are")]
    Unknown(String),
    /// btrfs has the feature, and rbtrfs does not make it.
    #[error("feature {0} is not supported")]
    Unsupported(&'static str),
}

enum What {
    Incompat(u64),
    CompatRo(u64),
    Mixed,
    FullQuotas,
    SimpleQuotas,
    Unsupported,
}

/// A feature that has a name.
pub struct Feature {
    /// The name that options know it by.
    pub name: &'static str,
    alias: Option<&'static str>,
    what: What,
    /// What it is, as a phrase.
    pub about: &'static str,
    /// Linux versions: that knows it, that is safe to use it with, and since which it is a default.
    pub versions: &'static str,
}

const fn feature(name: &'static str, what: What, about: &'static str, versions: &'static str) -> Feature {
    Feature { name, alias: None, what, about, versions }
}

const FREE_SPACE_TREE: u64 = compat_ro::FREE_SPACE_TREE | compat_ro::FREE_SPACE_TREE_VALID;

const FEATURES: [Feature; 13] = [
    feature("mixed-bg", What::Mixed, "data and metadata in the same block groups", "compat=2.6.37, safe=2.6.37"),
    feature("quota", What::FullQuotas, "quota groups that count shared extents", "compat=3.4"),
    feature(
        "extref",
        What::Incompat(incompat::EXTENDED_IREF),
        "more hard links of a file in one directory",
        "compat=3.7, safe=3.12, default=3.12",
    ),
    feature("raid56", What::Incompat(incompat::RAID56), "RAID5 and RAID6", "compat=3.9"),
    feature(
        "skinny-metadata",
        What::Incompat(incompat::SKINNY_METADATA),
        "smaller items for the extents of metadata",
        "compat=3.10, safe=3.18, default=3.18",
    ),
    feature(
        "no-holes",
        What::Incompat(incompat::NO_HOLES),
        "no items for the holes of files",
        "compat=3.14, safe=4.0, default=5.15",
    ),
    Feature {
        alias: Some("fst"),
        ..feature(
            "free-space-tree",
            What::CompatRo(FREE_SPACE_TREE),
            "free space in a tree (space_cache=v2)",
            "compat=4.5, safe=4.9, default=5.15",
        )
    },
    feature("raid1c34", What::Incompat(incompat::RAID1C34), "RAID1 with three or four copies", "compat=5.5"),
    feature("zoned", What::Unsupported, "zoned devices", "compat=5.12"),
    feature("extent-tree-v2", What::Unsupported, "several extent trees", "compat=5.15"),
    Feature {
        alias: Some("bgt"),
        ..feature(
            "block-group-tree",
            What::CompatRo(compat_ro::BLOCK_GROUP_TREE),
            "block groups in a tree of their own, for faster mounts",
            "compat=6.1, safe=6.1, default=6.19",
        )
    },
    Feature {
        alias: Some("rst"),
        ..feature("raid-stripe-tree", What::Unsupported, "places of stripes in a tree", "compat=6.7")
    },
    feature(
        "squota",
        What::SimpleQuotas,
        "simple quotas, which count extents for the subvolume that made them",
        "compat=6.7",
    ),
];

impl Default for Features {
    fn default() -> Self {
        Self {
            incompat: incompat::EXTENDED_IREF | incompat::SKINNY_METADATA | incompat::NO_HOLES,
            compat_ro: FREE_SPACE_TREE | compat_ro::BLOCK_GROUP_TREE,
            mixed: false,
            full_quotas: false,
            simple_quotas: false,
            named: 0,
        }
    }
}

impl Features {
    /// Adds the feature `name`, or takes it away if a caret stands before it.
    pub fn apply(&mut self, name: &str) -> Result<(), BadFeature> {
        let (name, on) = match name.strip_prefix('^') {
            Some(name) => (name, false),
            None => (name, true),
        };
        let is_called = |feature: &&Feature| feature.name == name || feature.alias == Some(name);
        let feature = FEATURES.iter().find(is_called).ok_or_else(|| BadFeature::Unknown(name.to_owned()))?;
        let set = |bits: &mut u64, bit: u64| *bits = if on { *bits | bit } else { *bits & !bit };
        match feature.what {
            What::Incompat(bit) => set(&mut self.incompat, bit),
            What::CompatRo(bit) => {
                set(&mut self.compat_ro, bit);
                set(&mut self.named, bit);
            }
            What::Mixed => self.mixed = on,
            What::FullQuotas => self.full_quotas = on,
            What::SimpleQuotas => self.simple_quotas = on,
            What::Unsupported if on => return Err(BadFeature::Unsupported(feature.name)),
            What::Unsupported => {}
        }
        Ok(())
    }

    /// Adds and takes away the features of a list with commas.
    pub fn apply_list(&mut self, list: &str) -> Result<(), BadFeature> {
        list.split(',').filter(|name| !name.is_empty()).try_for_each(|name| self.apply(name))
    }
}

/// The features that can be made.
pub fn available() -> impl Iterator<Item = &'static Feature> {
    FEATURES.iter().filter(|feature| !matches!(feature.what, What::Unsupported))
}

/// The names of the features that these bits are, in the order of [`available`].
pub fn names(incompat_bits: u64, compat_ro_bits: u64) -> impl Iterator<Item = &'static str> {
    let is_set = move |feature: &&Feature| match feature.what {
        What::Incompat(bit) => incompat_bits & bit == bit,
        What::CompatRo(bit) => compat_ro_bits & bit == bit,
        What::Mixed => incompat_bits & incompat::MIXED_GROUPS != 0,
        What::SimpleQuotas => incompat_bits & incompat::SIMPLE_QUOTA != 0,
        What::FullQuotas | What::Unsupported => false,
    };
    FEATURES.iter().filter(is_set).map(|feature| feature.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_add_and_take_away_in_their_order() {
        let mut features = Features::default();
        features.apply_list("^no-holes,^bgt,quota,fst,").unwrap();
        assert_eq!(features.incompat, incompat::EXTENDED_IREF | incompat::SKINNY_METADATA);
        assert_eq!((features.compat_ro, features.full_quotas), (FREE_SPACE_TREE, true));
        features.apply_list("no-holes,block-group-tree,^quota").unwrap();
        assert_eq!(features, Features { named: features.compat_ro, ..Features::default() });
    }

    #[test]
    fn what_cannot_be_made_is_refused_by_name() {
        let refused = |name: &str| Features::default().apply(name).unwrap_err();
        for name in ["zoned", "raid-stripe-tree", "extent-tree-v2"] {
            assert_eq!(refused(name), BadFeature::Unsupported(name));
            Features::default().apply(&format!("^{name}")).unwrap();
        }
        assert_eq!(refused("^no-such"), BadFeature::Unknown("no-such".to_owned()));
    }
}
