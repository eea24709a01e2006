//! Addresses, generations and ids as types, so that one is never taken for another.

use std::fmt;

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<zerocopy::little_endian::U64> for $name {
            fn from(raw: zerocopy::little_endian::U64) -> Self {
                Self(raw.get())
            }
        }
    };
}

number_type! {
    /// A byte address in the filesystem's own address space, which chunks map to devices.
    Logical
}
number_type! {
    /// A byte offset on one device.
    Physical
}
number_type! {
    /// The number of a transaction, called generation where it is stored.
    Transid
}

number_type! {
    /// The object id of a tree: of a subvolume or snapshot, of the top-level tree, or of a tree of the filesystem itself.
    TreeId
}
number_type! {
    /// The number of an inode, which is unique in its tree.
    Ino
}

impl Logical {
    /// The address `bytes` further on; nothing if it wraps.
    pub fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }

    /// Whether it is a multiple of `alignment`.
    pub fn is_aligned(self, alignment: u32) -> bool {
        self.0.is_multiple_of(u64::from(alignment))
    }
}

impl Physical {
    /// The offset `bytes` further on; nothing if it wraps.
    pub fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }
}
