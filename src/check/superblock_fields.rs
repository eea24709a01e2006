//! Which fields of two superblocks differ.

use crate::disk::fields::{FieldVisitor, Fields, Uuid};
use crate::disk::flags::FlagNames;
use crate::disk::{DiskKey, Key, Superblock};
use zerocopy::IntoBytes;

/// The fields at the top of a struct, as bytes.
#[derive(Default)]
struct Flat {
    fields: Vec<(&'static str, Vec<u8>)>,
}

impl Flat {
    fn nested<T: Fields>(values: &[T]) -> Vec<u8> {
        let mut inner = Self::default();
        values.iter().for_each(|value| value.visit(&mut inner));
        inner.fields.into_iter().flat_map(|(_, bytes)| bytes).collect()
    }
}

impl FieldVisitor for Flat {
    fn integer(&mut self, name: &'static str, value: u64) {
        self.bytes(name, &value.to_le_bytes());
    }

    fn flags(&mut self, name: &'static str, value: u64, _: FlagNames) {
        self.integer(name, value);
    }

    fn uuid(&mut self, name: &'static str, value: &Uuid) {
        self.bytes(name, &value.0);
    }

    fn key(&mut self, name: &'static str, value: Key) {
        self.bytes(name, DiskKey::from(value).as_bytes());
    }

    fn bytes(&mut self, name: &'static str, value: &[u8]) {
        self.fields.push((name, value.to_vec()));
    }

    fn text(&mut self, name: &'static str, value: &[u8]) {
        self.bytes(name, value);
    }

    fn integers(&mut self, name: &'static str, values: impl Iterator<Item = u64>) {
        self.fields.push((name, values.flat_map(u64::to_le_bytes).collect()));
    }

    fn structure<T: Fields>(&mut self, name: &'static str, value: &T) {
        self.fields.push((name, Self::nested(std::slice::from_ref(value))));
    }

    fn structures<T: Fields>(&mut self, name: &'static str, values: &[T]) {
        self.fields.push((name, Self::nested(values)));
    }
}

/// The names of the fields in which `one` and `other` differ, apart from checksum and place, which must.
pub fn differing(one: &Superblock, other: &Superblock) -> Vec<&'static str> {
    let flat = |superblock: &Superblock| {
        let mut flat = Flat::default();
        superblock.visit(&mut flat);
        flat.fields
    };
    let differ = flat(one).into_iter().zip(flat(other)).filter(|(one, other)| one != other);
    differ.map(|((name, _), _)| name).filter(|name| !["csum", "bytenr"].contains(name)).collect()
}
