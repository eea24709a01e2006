//! Superblocks, their backup roots and totals.

use rbtrfs::disk::flags::{incompat, superblock};
use rbtrfs::disk::node::Header;
use rbtrfs::disk::superblock::SUPER_OFFSETS;
use rbtrfs::disk::{Key, KeyType, objectid};
use serde_json::json;
use zerocopy::FromBytes;

use super::Case;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("super-magic", |injector| {
            injector.bytes(0, SUPER_OFFSETS[0].0 + 64, 8, |magic| magic.fill(1));
            json!({"devid": 1, "offset": 65536, "have": 0x0101010101010101_u64})
        }),
        Case::new("super-mirror-absent", |injector| {
            injector.bytes(0, SUPER_OFFSETS[1].0, 4096, |block| block.fill(0));
            json!({"devid": 1, "offset": 64 << 20})
        }),
        Case::new("super-csum", |injector| {
            injector.bytes(0, SUPER_OFFSETS[1].0 + 300, 1, |byte| byte[0] ^= 1);
            json!({"devid": 1, "offset": 64 << 20})
        }),
        Case::new("super-bytenr", |injector| {
            injector.superblock_copy(0, 1, |superblock| superblock.bytenr.set(4096));
            json!({"devid": 1, "offset": 64 << 20, "have": 4096})
        }),
        Case::new("super-stale", |injector| {
            let expect = injector.volume().superblock().generation().0;
            injector.superblock_copy(0, 1, |superblock| superblock.generation.set(expect - 2));
            json!({"devid": 1, "offset": 64 << 20, "have": expect - 2, "expect": expect})
        }),
        Case::new("super-mirror", |injector| {
            injector.superblock_copy(0, 1, |superblock| superblock.label[0] ^= 1);
            json!({"devid": 1, "offset": 64 << 20, "field": "label"})
        }),
        Case::new("super-mirror-log", |injector| {
            injector.superblock_copy(0, 1, |superblock| superblock.log_root.set(32 << 20));
            json!({"devid": 1, "offset": 64 << 20, "have": 32 << 20, "expect": 0})
        }),
        Case::new("super-behind", |injector| {
            let expect = injector.volume().superblock().generation().0;
            injector.superblock_copy(0, 1, |superblock| superblock.generation.set(expect - 1));
            json!({"devid": 1, "offset": 64 << 20, "have": expect - 1, "expect": expect})
        }),
        Case::new("device-behind", |injector| {
            let expect = injector.volume().superblock().generation().0;
            injector.superblocks_of(1, |superblock| superblock.generation.set(expect - 2));
            json!({"devid": 2, "have": expect - 2, "expect": expect, "behind": 2})
        })
        .on("raid1"),
        Case::new("device-stale", |injector| {
            let (expect, root) = {
                let volume = injector.volume();
                (volume.superblock().generation().0, volume.superblock().root())
            };
            injector.superblocks_of(1, |superblock| superblock.generation.set(expect - 1));
            let is_on_second = |mirror: &u16| injector.volume().place(root, *mirror).unwrap().0 == 2;
            injector.block_copy(root, (1..=2).find(is_on_second).unwrap(), |bytes| bytes[100] ^= 1);
            json!({"devid": 2, "have": expect - 1, "expect": expect, "what": "tree block", "logical": root.0})
        })
        .on("raid1"),
        Case::new("super-log-behind", |injector| {
            injector.superblocks_of(1, |superblock| superblock.log_root.set(32 << 20));
            json!({"devid": 2, "have": 32 << 20, "expect": 0})
        })
        .on("raid1"),
        Case::new("super-device", |injector| {
            injector.superblocks_of(1, |superblock| superblock.label[0] ^= 1);
            json!({"field": "label"})
        })
        .on("raid1"),
        Case::new("super-field", |injector| {
            injector.superblocks(|superblock| superblock.stripesize.set(4097));
            json!({"field": "stripesize", "have": 4097})
        }),
        Case::new("super-flags", |injector| {
            injector.superblocks(|superblock| superblock.incompat_flags.set(superblock.incompat_flags.get() | 1 << 60));
            json!({"field": "incompat_flags", "have": 1_u64 << 60})
        }),
        Case::new("super-compat-ro", |injector| {
            injector
                .superblocks(|superblock| superblock.compat_ro_flags.set(superblock.compat_ro_flags.get() | 1 << 60));
            json!({"have": 1_u64 << 60})
        }),
        Case::new("super-conversion", |injector| {
            injector.superblocks(|s| s.flags.set(s.flags.get() | superblock::CHANGING_FSID_V2));
            json!({"flag": "CHANGING_FSID_V2"})
        }),
        Case::new("super-error-flag", |injector| {
            injector.superblocks(|s| s.flags.set(s.flags.get() | superblock::ERROR));
            json!({})
        }),
        Case::new("super-feature", |injector| {
            injector.superblocks(|s| s.incompat_flags.set(s.incompat_flags.get() & !incompat::RAID56));
            json!({"user": "RAID5", "feature": "RAID56"})
        })
        .on("raid5"),
        Case::new("super-not-understood", |injector| {
            injector.superblocks(|s| s.incompat_flags.set(s.incompat_flags.get() | incompat::EXTENT_TREE_V2));
            json!({"feature": "EXTENT_TREE_V2"})
        }),
        Case::new("super-chunk-generation", |injector| {
            let root = injector.volume().superblock().chunk_root();
            let have = injector.volume().superblock().generation().0 + 1;
            injector.block(root, |block| Header::mut_from_prefix(block).unwrap().0.generation.set(have));
            injector.superblocks(|superblock| superblock.chunk_root_generation.set(have));
            json!({"have": have, "expect": have - 1})
        }),
        Case::new("super-dev-fsid", |injector| {
            injector.superblocks(|superblock| superblock.dev_item.fsid.0[0] ^= 1);
            json!({"devid": 1})
        }),
        Case::new("backup-root", |injector| {
            injector.superblocks(|superblock| {
                let generation = superblock.generation;
                let present = superblock.super_roots.iter_mut().find(|backup| backup.tree_root_gen == generation);
                present.unwrap().tree_root.set(4096);
            });
            json!({"field": "tree_root", "have": 4096})
        }),
        Case::new("backup-root-newer", |injector| {
            let expect = injector.volume().superblock().generation().0;
            injector.superblocks(|superblock| {
                let older = superblock.super_roots.iter_mut().find(|backup| backup.tree_root_gen.get() < expect);
                older.unwrap().tree_root_gen.set(expect + 2);
            });
            json!({"have": expect + 2, "expect": expect})
        }),
        Case::new("backup-root-missing", |injector| {
            let expect = injector.volume().superblock().generation().0;
            injector.superblocks(|superblock| {
                let present = superblock.super_roots.iter_mut().filter(|backup| backup.tree_root_gen.get() >= expect);
                present.for_each(|backup| backup.tree_root_gen.set(expect - 1));
            });
            json!({"expect": expect})
        }),
        Case::new("super-num-devices", |injector| {
            injector.superblocks(|superblock| superblock.num_devices.set(3));
            json!({"have": 3, "expect": 1})
        }),
        Case::new("super-total-bytes-short", |injector| {
            let expect = injector.volume().superblock().total_bytes.get();
            injector.superblocks(|superblock| superblock.total_bytes.set(expect - 4096));
            json!({"have": expect - 4096, "expect": expect})
        }),
        Case::new("super-total-bytes-long", |injector| {
            let expect = injector.volume().superblock().total_bytes.get();
            injector.superblocks(|superblock| superblock.total_bytes.set(expect + 4096));
            json!({"have": expect + 4096, "expect": expect})
        }),
        Case::new("super-bytes-used", |injector| {
            let expect = injector.volume().superblock().bytes_used.get();
            injector.superblocks(|superblock| superblock.bytes_used.set(expect + 4096));
            json!({"have": expect + 4096, "expect": expect})
        }),
        Case::new("tree-missing", |injector| {
            injector.remove_item(objectid::ROOT_TREE, Key::new(objectid::DEV_TREE, KeyType::ROOT_ITEM, 0));
            json!({"tree": objectid::DEV_TREE})
        }),
    ]
}
