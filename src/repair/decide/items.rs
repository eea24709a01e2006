//! Items that are not what their type says: values that nothing vouches for are set, or the item goes.

use std::collections::BTreeSet;

use zerocopy::FromBytes;

use crate::block::item::{
    CsumDamage, Damage, DeviceDamage, FileExtentDamage, InodeDamage, ItemProblem, LayoutDamage, NameDamage, RootDamage,
    SpaceDamage,
};
use crate::disk::inode::{FileExtentItem, InodeItem};
use crate::disk::root::RootItem;
use crate::disk::{Key, KeyType, Logical, flags, objectid};

use super::super::fix::Fix;
use super::super::plan::{Plan, Space};
use super::{blocks, offsets};

const NANOSECONDS: u32 = 1_000_000_000;

/// What is decided of damaged items.
#[derive(Default)]
pub struct Decider {
    /// Blocks that are written anew as a whole.
    blocks: BTreeSet<Logical>,
    /// Items that were dealt with.
    items: BTreeSet<(Logical, Key)>,
}

impl Decider {
    /// Damage to an item or to the layout of its block.
    pub fn decide(&mut self, plan: &mut Plan<'_>, problem: &ItemProblem) {
        let (tree, block) = (problem.place.tree, problem.place.block);
        // What others know is built anew.
        match tree {
            objectid::EXTENT_TREE | objectid::BLOCK_GROUP_TREE
                if matches!(problem.damage, Damage::Space(SpaceDamage::GroupUsed { .. })) =>
            {
                return plan.need(Space::Groups);
            }
            objectid::EXTENT_TREE | objectid::FREE_SPACE_TREE | objectid::BLOCK_GROUP_TREE => {
                return plan.need(Space::All);
            }
            objectid::DEV_TREE => {
                plan.devices = true;
                return;
            }
            objectid::TREE_LOG | objectid::RAID_STRIPE_TREE | objectid::REMAP_TREE => return,
            _ => {}
        }
        if let Damage::Layout(damage) = &problem.damage
            && !is_of_item(damage)
        {
            if !matches!(damage, LayoutDamage::LeafEmpty {}) && self.blocks.insert(block) {
                blocks::write_anew(plan, tree, block, problem.place.level);
            }
            return;
        }
        let Some(key) = problem.place.key else { return };
        if !self.items.insert((block, key)) {
            return;
        }
        self.decide_item(plan, problem, key);
    }

    fn decide_item(&mut self, plan: &mut Plan<'_>, problem: &ItemProblem, key: Key) {
        let limit = plan.volume.superblock().generation();
        let edit_inode = |plan: &mut Plan<'_>, what, edit: &dyn Fn(&mut InodeItem)| {
            edit_item(plan, problem, key, what, |data| {
                InodeItem::mut_from_prefix(data).map(|(item, _)| edit(item)).is_ok()
            });
        };
        match &problem.damage {
            Damage::Inode(damage) => match damage {
                InodeDamage::Generation { .. } | InodeDamage::Transid { .. } => {
                    edit_inode(plan, "its generation is that of the filesystem", &|item| {
                        item.generation = item.generation.get().min(limit.0).into();
                        item.transid = item.transid.get().min(limit.0).into();
                    });
                }
                InodeDamage::Flags { unknown, .. } => {
                    let unknown = *unknown;
                    edit_inode(plan, "flags that are not known are cleared", &|item| {
                        item.flags = (item.flags.get() & !unknown).into();
                    });
                }
                InodeDamage::KindFlags { flags, .. } => {
                    let of_another_kind = *flags;
                    edit_inode(plan, "flags of another kind of file are cleared", &|item| {
                        item.flags = (item.flags.get() & !of_another_kind).into();
                    });
                }
                InodeDamage::Time { .. } => edit_inode(plan, "nanoseconds that are none become 0", &|item| {
                    for time in [&mut item.atime, &mut item.ctime, &mut item.mtime, &mut item.otime] {
                        if time.nsec.get() >= NANOSECONDS {
                            time.nsec = 0.into();
                        }
                    }
                }),
                InodeDamage::DirLinks { .. } => {
                    edit_inode(plan, "a directory has one name", &|item| item.nlink = 1.into());
                }
                InodeDamage::FileSize { .. } => edit_inode(plan, "its size is that of its extents", &|item| {
                    item.size = item.nbytes;
                }),
                InodeDamage::Mode { .. } => super::files::mend_mode(plan, problem.place.tree, key.objectid),
                // Its item is missing, or stands with another number.
                InodeDamage::Missing { .. } => {}
                _ => drop_item(plan, problem, key),
            },
            Damage::FileExtent(damage) => match damage {
                FileExtentDamage::HoleSize { .. } | FileExtentDamage::RamBytes { .. } => {}
                FileExtentDamage::Overlap { .. } => {}
                FileExtentDamage::Generation { .. } => {
                    edit_item(plan, problem, key, "its generation is that of the filesystem", |data| {
                        FileExtentItem::mut_from_prefix(data)
                            .map(|(item, _)| item.generation = item.generation.get().min(limit.0).into())
                            .is_ok()
                    });
                }
                _ => {
                    let (tree, damaged) = (problem.place.tree, Some((problem.place.block, key)));
                    if !offsets::put_length_back(plan, tree, key.objectid, damaged) {
                        drop_item(plan, problem, key);
                    }
                }
            },
            Damage::Csum(CsumDamage::Overlap { .. }) => {}
            Damage::Root(damage) => match damage {
                RootDamage::Generation { .. } | RootDamage::Flags { .. } | RootDamage::Directory { .. } => {
                    mend_root_item(plan, problem, key);
                }
                // A tree is not given up for its item.
                _ if key.key_type == KeyType::ROOT_ITEM => {}
                _ => drop_item(plan, problem, key),
            },
            Damage::Device(DeviceDamage::Unaligned { .. }) | Damage::Chunk(_) => {}
            Damage::Device(_) if key.key_type == KeyType::DEV_ITEM => {}
            Damage::Name(NameDamage::Transid { .. } | NameDamage::RootDirectory { .. }) => {}
            _ => drop_item(plan, problem, key),
        }
    }
}

/// Whether the damage is that of one item, and not of the block.
fn is_of_item(damage: &LayoutDamage) -> bool {
    matches!(
        damage,
        LayoutDamage::ItemMisplaced { .. }
            | LayoutDamage::FileItemUnknown { .. }
            | LayoutDamage::ItemUnknown { .. }
            | LayoutDamage::InodeCache { .. }
    )
}

/// Changes an item where it stands: a block that trees share is changed for all of them.
fn edit_item(
    plan: &mut Plan<'_>,
    problem: &ItemProblem,
    key: Key,
    what: &'static str,
    edit: impl FnOnce(&mut [u8]) -> bool,
) {
    let (tree, block) = (problem.place.tree, problem.place.block);
    let Some(mut data) = blocks::item_in(plan, block, key) else { return };
    if edit(&mut data) {
        plan.edits.leaves.entry(block).or_default().insert(key, Some(data));
        plan.fix(Fix::Item { tree, key, what });
    }
}

fn drop_item(plan: &mut Plan<'_>, problem: &ItemProblem, key: Key) {
    let (tree, block) = (problem.place.tree, problem.place.block);
    plan.edits.leaves.entry(block).or_default().insert(key, None);
    plan.fix(Fix::ItemGone { tree, key, why: problem.damage.to_string() });
}

fn mend_root_item(plan: &mut Plan<'_>, problem: &ItemProblem, key: Key) {
    let limit = plan.volume.superblock().generation();
    edit_item(plan, problem, key, "fields that nothing depends on are set", |data| {
        let Ok((item, _)) = RootItem::mut_from_prefix(data) else { return false };
        if item.generation.get() > limit.0 {
            item.generation = limit.0.into();
        }
        for field in [&mut item.ctransid, &mut item.otransid, &mut item.stransid, &mut item.rtransid] {
            if field.get() > limit.0 {
                *field = limit.0.into();
            }
        }
        item.generation_v2 = item.generation;
        item.flags = (item.flags.get() & flags::all(flags::root::NAMES)).into();
        if objectid::is_fs_tree(key.objectid) {
            item.root_dirid = objectid::ROOT_DIR.into();
        }
        true
    });
}
