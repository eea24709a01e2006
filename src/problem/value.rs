//! Values in problems that are not of one type. In documents they stand as text.

use std::cmp::Ordering;
use std::fmt;

use crate::disk::Profile;
use crate::disk::fields::Uuid;

/// What a field should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expect {
    /// This number.
    Value(u64),
    /// A multiple of this number.
    MultipleOf(u64),
    /// A multiple of the first below the second.
    MultipleBelow(u64, u64),
    /// What the profile allows.
    OfProfile(Profile),
    /// A rule in words, for what no number tells.
    Rule(&'static str),
}

impl From<u64> for Expect {
    fn from(value: u64) -> Self {
        Self::Value(value)
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::MultipleOf(unit) => write!(f, "a multiple of {unit}"),
            Self::MultipleBelow(unit, limit) => write!(f, "a multiple of {unit} below {limit}"),
            Self::OfProfile(profile) => write!(f, "what profile {} allows", profile.name()),
            Self::Rule(rule) => f.write_str(rule),
        }
    }
}

/// The value of a field of a chunk or a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A uuid.
    Uuid(Uuid),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Number(value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Uuid(uuid) => uuid.fmt(f),
        }
    }
}

/// A name in a directory. What is not printable is escaped for people, and the order is that of what they see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(pub Vec<u8>);

impl FileName {
    /// The name, if it needs no escapes.
    fn printable(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok().filter(|text| !text.contains(char::is_control))
    }
}

impl Ord for FileName {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.printable(), other.printable()) {
            (Some(one), Some(other)) => one.cmp(other),
            _ => self.to_string().cmp(&other.to_string()).then_with(|| self.0.cmp(&other.0)),
        }
    }
}

impl PartialOrd for FileName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.printable() {
            Some(text) => f.write_str(text),
            None => self.0.escape_ascii().fmt(f),
        }
    }
}

macro_rules! serialized_as_text {
    ($($name:ty),*) => {
        $(
            impl serde::Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }
        )*
    };
}

serialized_as_text!(Expect, Value, FileName);
