//! How a struct of the format is declared, and how its fields are visited.

use zerocopy::little_endian::{U16, U32, U64};

use super::flags::FlagNames;
use super::key::{DiskKey, Key};

/// Receives the fields of a struct in the order of their declaration, under their kernel names.
pub trait FieldVisitor {
    /// A number.
    fn integer(&mut self, name: &'static str, value: u64);
    /// A number whose bits have names.
    fn flags(&mut self, name: &'static str, value: u64, names: FlagNames);
    /// A uuid.
    fn uuid(&mut self, name: &'static str, value: &Uuid);
    /// A key.
    fn key(&mut self, name: &'static str, value: Key);
    /// Bytes that are no number, such as a checksum.
    fn bytes(&mut self, name: &'static str, value: &[u8]);
    /// Text, which need not be UTF-8.
    fn text(&mut self, name: &'static str, value: &[u8]);
    /// An array of numbers.
    fn integers(&mut self, name: &'static str, values: impl Iterator<Item = u64>);
    /// A struct within the struct.
    fn structure<T: Fields>(&mut self, name: &'static str, value: &T);
    /// An array of structs.
    fn structures<T: Fields>(&mut self, name: &'static str, values: &[T]);
}

/// A struct of the format.
pub trait Fields {
    /// Hands each field to `visitor`, in the order of the declaration.
    fn visit<V: FieldVisitor>(&self, visitor: &mut V);
}

/// A type that may stand as a field.
pub trait Field {
    /// Hands the field to `visitor` under `name`.
    fn visit_as<V: FieldVisitor>(&self, name: &'static str, visitor: &mut V);
}

/// Another way to show a field than its type suggests.
pub trait View<T> {
    /// Hands `value` to `visitor` under `name`.
    fn visit<V: FieldVisitor>(&self, name: &'static str, value: &T, visitor: &mut V);
}

/// An integer whose bits have names.
pub struct Flags(pub FlagNames);

/// An array of bytes that are no numbers.
pub struct Bytes;

/// Text that ends at the first zero byte.
pub struct Text;

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn visit_as<V: FieldVisitor>(&self, name: &'static str, visitor: &mut V) {
                visitor.integer(name, (*self).into());
            }
        }

        impl View<$type> for Flags {
            fn visit<V: FieldVisitor>(&self, name: &'static str, value: &$type, visitor: &mut V) {
                visitor.flags(name, (*value).into(), self.0);
            }
        }
    )*};
}
integers!(u8, U16, U32, U64);

impl<const N: usize> Field for [u8; N] {
    fn visit_as<V: FieldVisitor>(&self, name: &'static str, visitor: &mut V) {
        visitor.integers(name, self.iter().map(|value| u64::from(*value)));
    }
}

impl<const N: usize> Field for [U64; N] {
    fn visit_as<V: FieldVisitor>(&self, name: &'static str, visitor: &mut V) {
        visitor.integers(name, self.iter().map(|value| value.get()));
    }
}

impl<T: Fields> Field for T {
    fn visit_as<V: FieldVisitor>(&self, name: &'static str, visitor: &mut V) {
        visitor.structure(name, self);
    }
}

impl<T: Fields, const N: usize> View<[T; N]> for Structures {
    fn visit<V: FieldVisitor>(&self, name: &'static str, value: &[T; N], visitor: &mut V) {
        visitor.structures(name, value);
    }
}

/// An array of structs.
pub struct Structures;

impl<const N: usize> View<[u8; N]> for Bytes {
    fn visit<V: FieldVisitor>(&self, name: &'static str, value: &[u8; N], visitor: &mut V) {
        visitor.bytes(name, value);
    }
}

impl<const N: usize> View<[u8; N]> for Text {
    fn visit<V: FieldVisitor>(&self, name: &'static str, value: &[u8; N], visitor: &mut V) {
        visitor.text(name, trim_at_nul(value));
    }
}

/// The bytes before the first zero.
pub fn trim_at_nul(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

impl Field for DiskKey {
    fn visit_as<V: FieldVisitor>(&self, name: &'static str, visitor: &mut V) {
        visitor.key(name, self.into());
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
    /// One that nothing else has.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().into_bytes())
    }

    /// Whether all bytes are zero.
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

impl serde::Serialize for Uuid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.encode(&mut [0; 36]))
    }
}

impl Field for Uuid {
    fn visit_as<V: FieldVisitor>(&self, name: &'static str, visitor: &mut V) {
        visitor.uuid(name, self);
    }
}

/// The name of an identifier, raw or not.
pub const fn without_raw_prefix(identifier: &'static str) -> &'static str {
    match identifier.as_bytes() {
        [b'r', b'#', ..] => identifier.split_at(2).1,
        _ => identifier,
    }
}

/// Declares structs of the format.
///
/// `Name: SIZE` is asserted. A field may be followed by `=> view`, a [`View`] of it, such as the names of its flags.
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
            fn visit<V: $crate::disk::fields::FieldVisitor>(&self, visitor: &mut V) {
                $($crate::disk::fields::disk_struct!(@field visitor, self, $field $(, $view)?);)*
            }
        }
    )*};
    (@field $visitor:ident, $self:ident, $field:ident) => {
        $crate::disk::fields::Field::visit_as(
            &$self.$field,
            $crate::disk::fields::disk_struct!(@name $field),
            $visitor,
        )
    };
    (@field $visitor:ident, $self:ident, $field:ident, $view:expr) => {
        $crate::disk::fields::View::visit(
            &$view,
            $crate::disk::fields::disk_struct!(@name $field),
            &$self.$field,
            $visitor,
        )
    };
    // Fields that the kernel calls `type` are raw identifiers here.
    (@name $field:ident) => {
        const { $crate::disk::fields::without_raw_prefix(stringify!($field)) }
    };
}
pub(crate) use disk_struct;
