//! JSON objects written field by field. Names are identifiers and values mostly numbers, so nothing but text has to be
//! looked through for what needs escaping; going through serde for each field takes three times as long.

use crate::disk::Key;
use crate::disk::fields::{FieldVisitor, Fields, Uuid};
use crate::disk::flags::FlagNames;

use super::super::put::{HexBytes, HexNumber, Put, put};

/// An object that is being written.
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    /// What stands before the name of the next member.
    separator: &'static str,
}

impl Object<'_> {
    /// Appends an object with the members that `fill` puts into it.
    pub fn put(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        out.push(b'{');
        fill(&mut Object { out: &mut *out, separator: "\"" });
        out.push(b'}');
    }

    /// Begins a member; the value is to be appended to what is returned.
    pub fn member(&mut self, name: &'static str) -> &mut Vec<u8> {
        put!(self.out, self.separator, name, "\":");
        self.separator = ",\"";
        self.out
    }

    /// A number, or anything else that needs no quotes.
    pub fn plain(&mut self, name: &'static str, value: impl Put) {
        value.put(self.member(name));
    }

    /// A member without a value.
    pub fn null(&mut self, name: &'static str) {
        self.plain(name, "null");
    }

    /// A truth value.
    pub fn bool(&mut self, name: &'static str, value: bool) {
        self.plain(name, if value { "true" } else { "false" });
    }

    /// A string, escaped where it needs that.
    pub fn string(&mut self, name: &'static str, value: &str) {
        put_string(value, self.member(name));
    }

    /// An object with the members that `fill` adds.
    pub fn object(&mut self, name: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
        Object::put(self.member(name), fill);
    }

    /// An array; `element` appends each of its values.
    pub fn array<T>(
        &mut self,
        name: &'static str,
        values: impl IntoIterator<Item = T>,
        element: impl FnMut(T, &mut Vec<u8>),
    ) {
        put_array(self.member(name), values, element);
    }
}

fn put_array<T>(out: &mut Vec<u8>, values: impl IntoIterator<Item = T>, mut element: impl FnMut(T, &mut Vec<u8>)) {
    let mut separator = "[";
    for value in values {
        put!(out, separator);
        element(value, out);
        separator = ",";
    }
    put!(out, if separator == "[" { "[]" } else { "]" });
}

fn put_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("memory takes every byte");
}

/// `type` is the number, `type_name` its name where it has one.
pub fn put_key(key: Key, out: &mut Vec<u8>) {
    Object::put(out, |object| {
        object.plain("objectid", key.objectid);
        object.plain("type", key.key_type.0);
        if let Some(name) = key.key_type.name() {
            put!(object.member("type_name"), "\"", name, "\"");
        }
        object.plain("offset", key.offset);
    });
}

impl FieldVisitor for Object<'_> {
    fn integer(&mut self, name: &'static str, value: u64) {
        self.plain(name, value);
    }

    fn flags(&mut self, name: &'static str, value: u64, names: FlagNames) {
        let unknown = names.iter().fold(value, |rest, (bit, _)| rest & !bit);
        let known = names.iter().filter(|(bit, _)| value & bit != 0).map(|(_, name)| Some(*name));
        self.array(name, known.chain((unknown != 0).then_some(None)), |name, out| match name {
            Some(name) => put!(out, "\"", name, "\""),
            None => put!(out, "\"0x", HexNumber(unknown), "\""),
        });
    }

    fn uuid(&mut self, name: &'static str, value: &Uuid) {
        put!(self.member(name), "\"", *value, "\"");
    }

    fn key(&mut self, name: &'static str, value: Key) {
        put_key(value, self.member(name));
    }

    fn bytes(&mut self, name: &'static str, value: &[u8]) {
        put!(self.member(name), "\"", HexBytes(value), "\"");
    }

    /// Text that is not UTF-8 has its bytes beside it.
    fn text(&mut self, name: &'static str, value: &[u8]) {
        self.string(name, &String::from_utf8_lossy(value));
        if std::str::from_utf8(value).is_err() {
            put!(self.out, ",\"", name, "_bytes\":\"", HexBytes(value), "\"");
        }
    }

    fn integers(&mut self, name: &'static str, values: impl Iterator<Item = u64>) {
        self.array(name, values, |value, out| value.put(out));
    }

    fn structure<T: Fields>(&mut self, name: &'static str, value: &T) {
        self.object(name, |object| value.visit(object));
    }

    fn structures<T: Fields>(&mut self, name: &'static str, values: &[T]) {
        self.array(name, values, |value, out| Object::put(out, |object| value.visit(object)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{KeyType, flags};

    #[test]
    fn documents_are_valid_json_whatever_the_text() {
        let mut out = Vec::new();
        Object::put(&mut out, |object| {
            object.text("text", b"quote \" slash \\ \n \xff");
            object.flags("flags", 0x8000_0001, flags::root::NAMES);
            object.key("key", Key::new(1, KeyType(77), u64::MAX));
            object.bytes("bytes", &[0, 0xab]);
            object.array("empty", [0_u8; 0], |value, out| value.put(out));
            object.null("null");
        });
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = serde_json::json!({
            "text": "quote \" slash \\ \n \u{fffd}", "text_bytes": "71756f7465202220736c617368205c200a20ff", "flags": ["RDONLY", "0x80000000"],
            "key": {"objectid": 1, "type": 77, "offset": u64::MAX}, "bytes": "00ab", "empty": [], "null": null,
        });
        assert_eq!(value, expected);
    }
}
