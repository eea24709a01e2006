//! Subvolumes and snapshots, by their root items and the references between them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;

use crate::disk::fields::Uuid;
use crate::disk::root::RootItem;
use crate::disk::{Ino, Key, KeyType, Transid, TreeId, flags, objectid};

use super::attributes::Timestamp;
use super::entries::root_ref;
use super::id::InodeId;
use super::store::Files;

const TOP_LEVEL: TreeId = TreeId(objectid::FS_TREE);

/// A subvolume or a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subvolume {
    /// Id of its tree.
    pub id: TreeId,
    /// The directory that it stands in, and its name there. Nothing for the top level, for what was deleted, and where the
    /// references are lost.
    pub place: Option<(InodeId, Vec<u8>)>,
    /// Its path from the top level, which has the empty one. Nothing where it stands nowhere, or where a directory on the path
    /// is lost.
    pub path: Option<Vec<u8>>,
    /// The transaction that changed it last.
    pub generation: Transid,
    /// The transaction that made it; 0 where kernels before 3.6 did.
    pub otransid: Transid,
    /// Whether the kernel refuses to write it (`BTRFS_ROOT_SUBVOL_RDONLY`).
    pub is_readonly: bool,
    /// It was deleted, and its blocks are about to be dropped: some of them may be gone.
    pub is_deleted: bool,
    /// Its uuid; nothing where kernels before 3.6 made it.
    pub uuid: Option<Uuid>,
    /// The subvolume that it is a snapshot of.
    pub parent_uuid: Option<Uuid>,
    /// The subvolume that was sent, where this was received.
    pub received_uuid: Option<Uuid>,
    /// When it was made.
    pub otime: Timestamp,
    /// When an inode of it was changed last.
    pub ctime: Timestamp,
    /// When it was sent, where it was received: by the clock of the sender.
    pub stime: Timestamp,
    /// When it was received.
    pub rtime: Timestamp,
}

impl Subvolume {
    fn new(id: TreeId, root: &RootItem) -> Self {
        // A kernel that does not know the later fields leaves them as they were.
        let is_known = root.generation == root.generation_v2;
        let time = |time| if is_known { Timestamp::from(time) } else { Timestamp::default() };
        let uuid = |uuid: Uuid| (is_known && uuid != Uuid::default()).then_some(uuid);
        Self {
            id,
            place: None,
            path: None,
            generation: root.generation.into(),
            otransid: if is_known { root.otransid.into() } else { Transid(0) },
            is_readonly: root.flags.get() & flags::root::RDONLY != 0,
            is_deleted: root.refs.get() == 0,
            uuid: uuid(root.uuid),
            parent_uuid: uuid(root.parent_uuid),
            received_uuid: uuid(root.received_uuid),
            otime: time(&root.otime),
            ctime: time(&root.ctime),
            stime: time(&root.stime),
            rtime: time(&root.rtime),
        }
    }
}

/// Where a subvolume stands: the directory, and the name in it.
type SubvolumePlace = (InodeId, Vec<u8>);

impl Files<'_> {
    /// All subvolumes and snapshots, the top level among them, in the order of their ids. Those whose root items stand in
    /// blocks that cannot be read are missing, and [`super::Options::on_notice`] receives those blocks.
    pub fn subvolumes(&self) -> Vec<Subvolume> {
        let mut subvolumes: BTreeMap<TreeId, Subvolume> = BTreeMap::new();
        let mut places: HashMap<TreeId, SubvolumePlace> = HashMap::new();
        let (from, to) =
            (Key::new(objectid::FS_TREE, KeyType(0), 0), Key::new(objectid::LAST_FREE, KeyType(u8::MAX), u64::MAX));
        self.scan_root_tree(from, to, |item| {
            let Key { objectid, key_type, offset } = item.key;
            if !objectid::is_fs_tree(objectid) {
                return ControlFlow::Continue(());
            }
            let place = |parent| root_ref(item.data).map(|(dir, name)| (InodeId::new(parent, dir), name.to_vec()));
            match key_type {
                KeyType::ROOT_ITEM => {
                    let root = RootItem::read(item.data).map(|root| Subvolume::new(TreeId(objectid), &root));
                    subvolumes.extend(root.map(|root| (root.id, root)));
                }
                KeyType::ROOT_BACKREF => places.extend(place(TreeId(offset)).map(|place| (TreeId(objectid), place))),
                KeyType::ROOT_REF => {
                    if let Some(place) = place(TreeId(objectid)) {
                        places.entry(TreeId(offset)).or_insert(place);
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
        let mut paths = HashMap::from([(TOP_LEVEL, Some(Vec::new()))]);
        for subvolume in subvolumes.values_mut() {
            subvolume.path = self.subvolume_path(subvolume.id, &places, &mut paths);
            subvolume.place = places.get(&subvolume.id).cloned();
        }
        subvolumes.into_values().collect()
    }

    /// The path of a subvolume from the top level. `paths` are those that are known.
    fn subvolume_path(
        &self,
        id: TreeId,
        places: &HashMap<TreeId, SubvolumePlace>,
        paths: &mut HashMap<TreeId, Option<Vec<u8>>>,
    ) -> Option<Vec<u8>> {
        let (mut current, mut chain, mut met) = (id, Vec::new(), HashSet::new());
        while !paths.contains_key(&current) {
            match places.get(&current).filter(|_| met.insert(current)) {
                Some(place) => {
                    chain.push((current, place));
                    current = place.0.tree;
                }
                // It stands nowhere, or in itself.
                None => {
                    paths.insert(current, None);
                }
            }
        }
        let mut path = paths.get(&current).cloned().flatten();
        for (tree, (directory, name)) in chain.into_iter().rev() {
            let directory = path.is_some().then(|| self.path_in_subvolume(*directory).ok()).flatten();
            path = path.zip(directory).map(|(path, directory)| {
                let parts = [&path[..], &directory[..], &name[..]];
                parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(&b'/')
            });
            paths.insert(tree, path.clone());
        }
        path
    }

    /// The root directory of a subvolume.
    ///
    /// # Errors
    ///
    /// There is no such subvolume, or its root item cannot be read.
    pub fn subvolume_root(&self, id: TreeId) -> crate::Result<InodeId> {
        let directory: Ino = self.tree(id)?.directory;
        Ok(InodeId::new(id, directory))
    }
}
