//! Log trees.

use rbtrfs::disk::flags::{block_group, extent};
use rbtrfs::disk::inode::{FileExtentDisk, FileExtentItem};
use rbtrfs::disk::node::Header;
use rbtrfs::disk::{Key, KeyType, Logical, objectid};
use rbtrfs::tree::TreeRoot;
use serde_json::json;
use zerocopy::FromBytes;

use crate::support::inject::Injector;

use super::{Case, copy_block, data, extent_item, system};

/// The log tree of the filesystem's first subvolume: its leaf.
fn log_leaf(injector: &Injector) -> Logical {
    let volume = injector.volume();
    TreeRoot::log_root_tree(&volume).unwrap().children(&volume)[0].logical
}

/// Changes an item of the log tree of the first subvolume, and its key.
fn edit_log(injector: &Injector, edit: impl Fn(&mut Key, &mut [u8]) -> bool) {
    injector.leaf_at(log_leaf(injector), |items| {
        assert!(items.iter_mut().any(|(key, data)| edit(key, data)), "the log has such an item");
    });
}

/// Moves a logged extent of data. `edit` gets the item and returns whether this is the one to move.
fn move_logged(injector: &Injector, to: Logical) {
    edit_log(injector, |key, data| {
        let is_regular = key.key_type == KeyType::EXTENT_DATA && data.len() > size_of::<FileExtentItem>() + 31;
        if let Some(body) = data.get_mut(size_of::<FileExtentItem>()..).filter(|_| is_regular) {
            FileExtentDisk::mut_from_prefix(body).unwrap().0.disk_bytenr.set(to.0);
        }
        is_regular
    });
}

pub fn cases() -> Vec<Case> {
    let cases = vec![
        Case::new("log-tree", |injector| {
            injector.superblocks(|superblock| superblock.log_root.set(65536));
            json!({"log_root": 65536})
        }),
        Case::new("log-generation", |injector| {
            let volume = injector.volume();
            let expect = volume.superblock().generation().0 + 1;
            let set = |block: &mut [u8]| Header::mut_from_prefix(block).unwrap().0.generation.set(expect + 1);
            injector.block(volume.superblock().log_root.into(), set);
            json!({"have": expect + 1, "expect": expect})
        }),
        Case::new("log-block-outside", |injector| {
            let copy = copy_block(injector, injector.volume().superblock().log_root.into(), &system(injector));
            injector.superblocks(|superblock| superblock.log_root.set(copy.0));
            json!({"block": copy, "chunk_type": block_group::SYSTEM})
        })
        .also(&["log-tree"]),
        Case::new("log-block-used", |injector| {
            let block = log_leaf(injector);
            let key = Key::new(block.0, KeyType::METADATA_ITEM, 0);
            injector.insert_item(objectid::EXTENT_TREE, key, &extent_item(extent::TREE_BLOCK));
            json!({"block": block, "extent": block})
        })
        .also(&["block-group-used", "free-space-used", "super-bytes-used"]),
        Case::new("log-extent-outside", |injector| {
            let logical = system(injector).logical;
            move_logged(injector, logical);
            json!({"tree": objectid::FS_TREE, "extent": logical})
        }),
        Case::new("log-extent-used", |injector| {
            let start = data(injector).logical;
            let items = injector.items(objectid::EXTENT_TREE);
            let is_long =
                |key: &Key| key.key_type == KeyType::EXTENT_ITEM && key.objectid >= start.0 && key.offset > 4096;
            let other = items.iter().map(|item| item.0).find(is_long).expect("there is a long extent").objectid;
            move_logged(injector, Logical(other + 4096));
            json!({"tree": objectid::FS_TREE, "extent": other + 4096, "other": other})
        }),
        Case::new("log-csum-missing", |injector| {
            edit_log(injector, |key, _| {
                let is_first = key.key_type == KeyType::EXTENT_CSUM;
                key.offset -= if is_first { 4096 } else { 0 };
                is_first
            });
            json!({"tree": objectid::FS_TREE})
        }),
    ];
    cases.into_iter().map(|case| if case.code == "log-tree" { case } else { case.on("log-tree") }).collect()
}
