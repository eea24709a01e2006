//! Access control lists: in attributes they are numbers, in tar streams text.

use std::fmt::Write;

const VERSION: u32 = 2;
const ENTRY: usize = 8;

/// The text of the value of `system.posix_acl_access` or `system.posix_acl_default`, with numbers for names; nothing if it is none.
pub fn text(value: &[u8]) -> Option<String> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION || entries.len() % ENTRY != 0 {
        return None;
    }
    let mut text = String::new();
    for entry in entries.chunks_exact(ENTRY) {
        let [tag, permissions] = [0, 2].map(|at| u16::from_le_bytes([entry[at], entry[at + 1]]));
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        // `ACL_USER_OBJ` and its kin (include/uapi/linux/posix_acl.h).
        let (kind, id) = match tag {
            0x01 => ("user", None),
            0x02 => ("user", Some(id)),
            0x04 => ("group", None),
            0x08 => ("group", Some(id)),
            0x10 => ("mask", None),
            0x20 => ("other", None),
            _ => return None,
        };
        let id = id.map_or_else(String::new, |id| id.to_string());
        let letter = |bit, letter| if permissions & bit != 0 { letter } else { '-' };
        let separator = if text.is_empty() { "" } else { "," };
        let [read, write, execute] = [letter(4, 'r'), letter(2, 'w'), letter(1, 'x')];
        let _ = write!(text, "{separator}{kind}:{id}:{read}{write}{execute}");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_list_is_what_getfacl_shows_of_it() {
        let entry = |tag: u16, permissions: u16, id: u32| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let entries =
            [entry(1, 7, u32::MAX), entry(2, 5, 1000), entry(4, 4, u32::MAX), entry(0x10, 7, 0), entry(0x20, 0, 0)];
        let value = [&2_u32.to_le_bytes()[..], &entries.concat()].concat();
        assert_eq!(text(&value).unwrap(), "user::rwx,user:1000:r-x,group::r--,mask::rwx,other::---");
        for bad in [&value[1..], &value[..10], b""] {
            assert_eq!(text(bad), None);
        }
    }
}
