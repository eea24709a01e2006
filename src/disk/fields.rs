//! How a struct of the format is declared, and how its fields are serialized.

use serde::Serializer;
use serde::ser::{SerializeMap, SerializeSeq};
use zerocopy::little_endian::{U16, U32, U64};

/// A type that may stand as a field in a struct of the format.
pub trait Field {
    fn serialize_field<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

/// A struct of the format, whose fields can be put among others.
pub trait Fields {
    fn serialize_fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error>;
}

/// Serializes a [`Field`] by reference, for `serde` containers.
pub struct AsJson<'a, T: ?Sized>(pub &'a T);

impl<T: Field + ?Sized> serde::Serialize for AsJson<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_field(serializer)
    }
}

macro_rules! integer_field {
    ($($type:ty => $method:ident),*) => {$(
        impl Field for $type {
            fn serialize_field<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.$method((*self).into())
            }
        }
    )*};
}
integer_field!(u8 => serialize_u8, U16 => serialize_u16, U32 => serialize_u32, U64 => serialize_u64);

impl<T: Field, const N: usize> Field for [T; N] {
    fn serialize_field<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(N))?;
        for element in self {
            sequence.serialize_element(&AsJson(element))?;
        }
        sequence.end()
    }
}

/// 16 bytes that name a filesystem, a device, a tree or a subvolume.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::KnownLayout,
    zerocopy::Immutable,
    zerocopy::Unaligned,
)]
#[repr(transparent)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    pub fn is_nil(&self) -> bool {
        self.0 == [0; 16]
    }

    /// The 36 characters of the canonical form, written into `buffer`.
    pub fn encode<'b>(&self, buffer: &'b mut [u8; 36]) -> &'b str {
        uuid::Uuid::from_bytes(self.0).hyphenated().encode_lower(buffer)
    }
}

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.encode(&mut [0; 36]))
    }
}

impl std::fmt::Debug for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Field for Uuid {
    fn serialize_field<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.encode(&mut [0; 36]))
    }
}

/// Bytes that are no number, such as checksums: serialized as a hexadecimal string.
pub struct Hex<'a>(pub &'a [u8]);

impl serde::Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(self.0.len() * 2);
        for byte in self.0 {
            text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
        }
        serializer.serialize_str(&text)
    }
}

/// [`Hex`] of a field.
pub struct HexOwned<const N: usize>(pub [u8; N]);

impl<const N: usize> serde::Serialize for HexOwned<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde::Serialize::serialize(&Hex(&self.0), serializer)
    }
}

/// Declares structs of the format.
///
/// `Name: SIZE` is asserted. A field may be followed by `=> view`: a function from the raw value to what is serialized
/// in its place, such as the names of flags.
macro_rules! disk_struct {
    ($(
        $(#[$doc:meta])*
        $name:ident: $size:literal {
            $($(#[$field_doc:meta])* $field:ident: $type:ty $(=> $view:expr)?,)*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable, zerocopy::Unaligned,
        )]
        #[repr(C)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        const _: () = assert!(size_of::<$name>() == $size);

        impl $name {
            /// The struct at the start of `bytes`, and what follows it; nothing if `bytes` is too short.
            pub fn read_prefix(bytes: &[u8]) -> Option<(&Self, &[u8])> {
                zerocopy::FromBytes::ref_from_prefix(bytes).ok()
            }

            /// All bytes zero.
            pub fn zeroed() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }
        }

        impl $crate::disk::fields::Fields for $name {
            fn serialize_fields<M: serde::ser::SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
                $($crate::disk::fields::disk_struct!(@field object, self, $field $(, $view)?);)*
                Ok(())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut object = serializer.serialize_map(None)?;
                $crate::disk::fields::Fields::serialize_fields(self, &mut object)?;
                serde::ser::SerializeMap::end(object)
            }
        }

        impl $crate::disk::fields::Field for $name {
            fn serialize_field<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(self, serializer)
            }
        }
    )*};
    (@field $object:ident, $self:ident, $field:ident) => {
        $object.serialize_entry($crate::disk::fields::disk_struct!(@name $field), &$crate::disk::fields::AsJson(&$self.$field))?
    };
    (@field $object:ident, $self:ident, $field:ident, $view:expr) => {
        $object.serialize_entry($crate::disk::fields::disk_struct!(@name $field), &($view)(&$self.$field))?
    };
    // Fields that the kernel calls `type` are raw identifiers here.
    (@name $field:ident) => {
        stringify!($field).trim_start_matches("r#")
    };
}
pub(crate) use disk_struct;
