//! The names and times of a new filesystem.

use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::disk::fields::Uuid;
use crate::disk::inode::Timespec;

/// All uuids follow from that of the filesystem, so that the same one makes the same bytes.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    pub fsid: Uuid,
    /// Of the first device, if it was given.
    pub device_uuid: Option<Uuid>,
    /// What has no time of its own has this one.
    pub time: Timespec,
    /// Whether that time was given: two runs are to make the same bytes then.
    pub is_fixed: bool,
}

impl Identity {
    pub fn device(&self, devid: u64) -> Uuid {
        self.device_uuid.filter(|_| devid == 1).unwrap_or_else(|| self.derived("device", devid))
    }

    pub fn chunk_tree(&self) -> Uuid {
        self.derived("chunk tree", 0)
    }

    pub fn subvolume(&self, tree: u64) -> Uuid {
        self.derived("subvolume", tree)
    }

    fn derived(&self, purpose: &str, number: u64) -> Uuid {
        let mut hash = Sha256::new_with_prefix(self.fsid.0);
        // Purposes differ before their ends, and the number has a fixed length.
        hash.update(purpose);
        hash.update(number.to_le_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Uuid(uuid::Builder::from_random_bytes(bytes).into_uuid().into_bytes())
    }
}

pub fn random_uuid() -> Uuid {
    Uuid(uuid::Uuid::new_v4().into_bytes())
}

/// The present; years before 1970 are none.
pub fn now() -> Timespec {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timespec { sec: since.as_secs().into(), nsec: since.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_uuids_of_a_filesystem_are_the_same() {
        let time = Timespec::zeroed();
        let one = Identity { fsid: Uuid([1; 16]), device_uuid: None, time, is_fixed: true };
        let other = Identity { fsid: Uuid([2; 16]), ..one };
        let of = |identity: &Identity| -> Vec<Uuid> {
            let devices = (1..20).map(|devid| identity.device(devid));
            let subvolumes = [5, 256, 257].map(|tree| identity.subvolume(tree));
            devices.chain([identity.chunk_tree()]).chain(subvolumes).collect()
        };
        let mut all = [of(&one), of(&other)].concat();
        assert_eq!(of(&one), of(&one));
        all.sort();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(all.iter().all(|uuid| uuid.0[6] >> 4 == 4 && uuid.0[8] >> 6 == 2), "not of a known kind");
        let given = Identity { device_uuid: Some(Uuid([9; 16])), ..one };
        assert_eq!((given.device(1), given.device(2)), (Uuid([9; 16]), one.device(2)));
    }
}
