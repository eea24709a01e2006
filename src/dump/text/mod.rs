//! Tree blocks as `btrfs inspect-internal dump-tree` prints them.

pub mod clock;
mod extent;
mod form;
mod inode;
pub(super) mod key;
mod quota;
mod root;
mod space;
pub(super) mod volume;

use crate::block::{BadItem, Block, BlockKind, ItemRef, Leaf, Node};
use crate::disk::flags::header;
use crate::disk::node::Header;
use crate::disk::{KeyType, objectid};

use super::Style;
use super::put::{HexBytes, HexNumber, Joined, put};
use clock::Clock;
pub use form::Text;
use key::{DumpKey, ObjectId};

/// Prints blocks; one printer for each thread.
#[derive(Default)]
pub struct Printer {
    clock: Clock,
}

impl Printer {
    /// The block and all that is in it. An item that points outside of its leaf ends the leaf, and is returned.
    pub fn block(&mut self, block: Block<'_>, style: &Style, out: &mut Vec<u8>) -> Result<(), BadItem> {
        match block.kind() {
            BlockKind::Leaf(leaf) => self.leaf(leaf, style, out),
            BlockKind::Node(node) => {
                print_node(node, style, out);
                Ok(())
            }
        }
    }

    fn leaf(&mut self, leaf: Leaf<'_>, style: &Style, out: &mut Vec<u8>) -> Result<(), BadItem> {
        let block = leaf.block();
        put!(out, "leaf ", block.logical(), " items ", block.nritems(), " free space ", leaf.free_space());
        print_header(block.header(), "leaf ", style, out);
        for item in leaf.items() {
            self.item(&item?, style, out);
        }
        Ok(())
    }

    fn item(&mut self, item: &ItemRef<'_>, style: &Style, out: &mut Vec<u8>) {
        put!(out, "\titem ", item.slot, " ", DumpKey(item.key), " itemoff ", item.offset);
        put!(out, " itemsize ", item.data.len(), "\n");
        let data = item.data;
        // What is too short for its type is not printed, as in `btrfs inspect-internal`.
        let _: Option<()> = match item.key.key_type {
            KeyType::INODE_ITEM => inode::inode_item(data, &mut self.clock, out),
            KeyType::INODE_REF => inode::inode_ref(data, style, out),
            KeyType::INODE_EXTREF => inode::inode_extref(data, style, out),
            KeyType::DIR_ITEM | KeyType::DIR_INDEX | KeyType::XATTR_ITEM => inode::dir_item(data, style, out),
            KeyType::DIR_LOG_ITEM | KeyType::DIR_LOG_INDEX => inode::dir_log_item(data, out),
            KeyType::ORPHAN_ITEM => line("\t\torphan item\n", out),
            KeyType::EXTENT_DATA => inode::file_extent(data, out),
            KeyType::CSUM_ITEM => line("\t\tcsum item\n", out),
            KeyType::EXTENT_CSUM => extent::csums(item, style, out),
            KeyType::ROOT_ITEM => root::root_item(data, &mut self.clock, out),
            KeyType::ROOT_REF => root::root_ref(data, "ref", out),
            KeyType::ROOT_BACKREF => root::root_ref(data, "backref", out),
            KeyType::EXTENT_ITEM | KeyType::METADATA_ITEM => extent::extent_item(item, out),
            KeyType::TREE_BLOCK_REF => line("\t\ttree block backref\n", out),
            KeyType::SHARED_BLOCK_REF => line("\t\tshared block backref\n", out),
            KeyType::EXTENT_DATA_REF => extent::extent_data_ref(data, out),
            KeyType::SHARED_DATA_REF => extent::shared_data_ref(data, out),
            KeyType::EXTENT_OWNER_REF => extent::extent_owner_ref(data, out),
            KeyType::EXTENT_REF_V0 => line("\t\textent ref v0 (deprecated)\n", out),
            KeyType::BLOCK_GROUP_ITEM => volume::block_group_item(data, out),
            KeyType::FREE_SPACE_INFO => space::free_space_info(data, out),
            KeyType::FREE_SPACE_EXTENT => line("\t\tfree space extent\n", out),
            KeyType::FREE_SPACE_BITMAP => line("\t\tfree space bitmap\n", out),
            KeyType(0) if item.key.objectid == objectid::FREE_SPACE => space::free_space_header(data, out),
            KeyType::DEV_EXTENT => volume::dev_extent(data, out),
            KeyType::DEV_ITEM => volume::dev_item(data, out),
            KeyType::CHUNK_ITEM => volume::chunk_item(data, out),
            KeyType::RAID_STRIPE => volume::raid_stripe(data, out),
            KeyType::REMAP | KeyType::REMAP_BACKREF => volume::remap_item(data, out),
            KeyType::QGROUP_STATUS => quota::qgroup_status(data, style, out),
            KeyType::QGROUP_INFO => quota::qgroup_info(data, out),
            KeyType::QGROUP_LIMIT => quota::qgroup_limit(data, out),
            KeyType::TEMPORARY_ITEM => volume::temporary_item(item, out),
            KeyType::PERSISTENT_ITEM => volume::persistent_item(item, out),
            KeyType::DEV_REPLACE => volume::dev_replace(data, &mut self.clock, out),
            KeyType::UUID_KEY_SUBVOL | KeyType::UUID_KEY_RECEIVED_SUBVOL => root::uuid_item(data, out),
            KeyType::STRING_ITEM => {
                let text = data.split(|byte| *byte == 0).next().unwrap_or_default();
                put!(out, "\t\titem data ", text, "\n");
                Some(())
            }
            _ => None,
        };
    }
}

fn line(text: &str, out: &mut Vec<u8>) -> Option<()> {
    put!(out, text);
    Some(())
}

fn print_node(node: Node<'_>, style: &Style, out: &mut Vec<u8>) {
    let block = node.block();
    put!(out, "node ", block.logical(), " level ", block.level(), " items ", block.nritems());
    put!(out, " free space ", node.capacity().wrapping_sub(block.nritems()));
    print_header(block.header(), "node ", style, out);
    for ptr in node.ptrs() {
        put!(out, "\t", DumpKey((&ptr.key).into()), " block ", ptr.blockptr, " gen ", ptr.generation, "\n");
    }
}

/// The end of the first line, and the lines up to the items.
fn print_header(header: &Header, kind: &str, style: &Style, out: &mut Vec<u8>) {
    put!(out, " generation ", header.generation, " owner ", ObjectId(header.owner.get(), KeyType(0)), "\n");
    let flags = header.flag_bits();
    let names = header::NAMES.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name);
    put!(out, kind, header.bytenr, " flags 0x", HexNumber(flags), "(", Joined(names, ""), ")");
    put!(out, " backref revision ", header.backref_rev());
    if style.csum_headers {
        put!(out, " csum 0x", HexBytes(&header.csum[..style.csum_type.size()]));
    }
    put!(out, "\nfs uuid ", header.fsid, "\nchunk uuid ", header.chunk_tree_uuid, "\n");
}
