//! `rbtrfs dump-tree`

use clap::{ArgMatches, Args as _, FromArgMatches};

use crate::disk::{Logical, objectid};
use crate::dump::Style;
use crate::dump::json::{Json, JsonLines};
use crate::dump::text::Text;
use crate::dump::tree::{Complaint, Order, Selection, dump};
use crate::parallel::default_threads;
use crate::progress::Progress;

use super::document::Document;
use super::exit::Exit;
use super::open::{Completeness, Images};
use super::watch::{Counted, Display, watched};
use super::{hint, output};

#[derive(Debug, clap::Args)]
struct Args {
    /// Print only the leaves of the extent tree and the device tree
    #[arg(short, long)]
    extents: bool,

    /// Print only the root, chunk and device trees
    #[arg(short, long)]
    device: bool,

    /// Print only where the root of each tree is
    #[arg(short, long)]
    roots: bool,

    /// Print where the root of each tree is, and the backup roots
    #[arg(short = 'R', long)]
    backups: bool,

    /// Print only the uuid tree
    #[arg(short, long)]
    uuid: bool,

    /// Print only the block at this logical address; may be given more than once
    #[arg(short, long, value_name = "BYTENR", value_parser = logical)]
    block: Vec<Logical>,

    /// Print only the tree with this id, a number or a name such as fs, extent, csum or raid_stripe
    #[arg(short, long, value_name = "TREE", value_parser = tree_id)]
    tree: Option<u64>,

    /// With --block: print all that is below the block too
    #[arg(long)]
    follow: bool,

    /// Print each tree level by level, nodes before leaves (the default)
    #[arg(long, overrides_with = "dfs")]
    bfs: bool,

    /// Print each node before what is below it
    #[arg(long, overrides_with = "bfs")]
    dfs: bool,

    /// Do not print names of files, subvolumes and extended attributes, nor their values
    #[arg(long)]
    hide_names: bool,

    /// Print the checksums of tree blocks
    #[arg(long)]
    csum_headers: bool,

    /// Print the checksums in checksum items
    #[arg(long)]
    csum_items: bool,

    /// Accepted for compatibility: only the devices given are ever used
    #[arg(long)]
    noscan: bool,

    /// Print one JSON document
    #[arg(long, conflicts_with = "json_lines")]
    json: bool,

    /// Print one JSON object for each item, a line each
    #[arg(long)]
    json_lines: bool,

    #[command(flatten)]
    images: Images,
}

pub fn parser() -> clap::Command {
    let command = clap::Command::new("dump-tree").about("Print the trees of a filesystem as text or JSON");
    Args::augment_args(command)
}

pub fn manual() -> String {
    include_str!("dump_tree.manual").to_owned()
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    let (volume, completeness) = args.images.open(program)?;
    let selection = Selection {
        extents: args.extents,
        devices: args.device,
        roots: args.roots || args.backups,
        backups: args.backups,
        uuid: args.uuid,
        blocks: args.block.iter().copied().collect(),
        follow: args.follow,
        tree: args.tree,
        order: if args.dfs { Order::DepthFirst } else { Order::BreadthFirst },
    };
    let style = Style {
        hide_names: args.hide_names,
        csum_headers: args.csum_headers,
        csum_items: args.csum_items,
        ..Style::of(&volume)
    };

    let mut complete = completeness == Completeness::Whole;
    let mut is_damaged = false;
    let quiet = args.images.quiet;
    let mut complain = |complaint: &Complaint| match complaint {
        Complaint::BadCopy { .. } if quiet => {}
        Complaint::BadCopy { .. } => output::warning(program, complaint),
        _ => {
            complete = false;
            // A block that was asked for may be none.
            is_damaged |= args.block.is_empty() && !matches!(complaint, Complaint::NoTree { .. });
            output::error(program, complaint);
        }
    };
    let progress = Progress::default();
    progress.begin("trees", 0);
    let mut out = Counted { out: output::stdout()?, progress: &progress };
    let (threads, complain) = (default_threads(), &mut complain);
    let display = Display::beside_output(&out.out, quiet);
    watched(display, &progress, || match (args.json, args.json_lines) {
        (true, _) => dump(&volume, &selection, &Json { style }, threads, &mut Document::new(out), complain),
        (_, true) => dump(&volume, &selection, &JsonLines { style }, threads, &mut Document::new(out), complain),
        _ => dump(&volume, &selection, &Text { style }, threads, &mut out, complain),
    })?;
    if is_damaged {
        output::error(program, &hint::of_unreadable(&args.images.images));
    }
    Ok(if complete { Exit::Done } else { Exit::Failed })
}

fn logical(text: &str) -> Result<Logical, String> {
    number(text).map(Logical).ok_or_else(|| "expected a number".to_owned())
}

/// A decimal number, or a hexadecimal one with `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Names of trees, where each stands for all that it is the beginning of.
const TREE_NAMES: [(&str, u64); 18] = [
    ("root", objectid::ROOT_TREE),
    ("extent", objectid::EXTENT_TREE),
    ("chunk", objectid::CHUNK_TREE),
    ("device", objectid::DEV_TREE),
    ("dev", objectid::DEV_TREE),
    ("fs", objectid::FS_TREE),
    ("csum", objectid::CSUM_TREE),
    ("checksum", objectid::CSUM_TREE),
    ("quota", objectid::QUOTA_TREE),
    ("uuid", objectid::UUID_TREE),
    ("free_space", objectid::FREE_SPACE_TREE),
    ("tree_log_fixup", objectid::TREE_LOG_FIXUP),
    ("tree_log", objectid::TREE_LOG),
    ("tree_reloc", objectid::TREE_RELOC),
    ("data_reloc", objectid::DATA_RELOC_TREE),
    ("block_group", objectid::BLOCK_GROUP_TREE),
    ("raid_stripe", objectid::RAID_STRIPE_TREE),
    ("remap", objectid::REMAP_TREE),
];

/// An id as a number or a name, as `BTRFS_CSUM_TREE_OBJECTID` or shorter in either case.
fn tree_id(text: &str) -> Result<u64, String> {
    if let Some(id) = number(text).filter(|id| *id != 0) {
        return Ok(id);
    }
    let name = text.to_ascii_lowercase().replace('-', "_");
    let name = name.strip_prefix("btrfs_").unwrap_or(&name);
    let name = name.strip_suffix("_objectid").unwrap_or(name);
    let is_named = |tree: &&(&str, u64)| name == tree.0 || name.strip_suffix("_tree") == Some(tree.0);
    let found = TREE_NAMES.iter().find(is_named);
    found.map(|(_, id)| *id).ok_or_else(|| "expected the number or name of a tree".to_owned())
}

#[cfg(test)]
mod tests {
    use super::tree_id;

    #[test]
    fn trees_go_by_every_name_that_scripts_use() {
        for (text, id) in [
            ("5", 5),
            ("0x100", 256),
            ("fs", 5),
            ("FS_TREE", 5),
            ("BTRFS_CSUM_TREE_OBJECTID", 7),
            ("free-space", 10),
            ("tree_log", -6_i64 as u64),
            ("dev", 4),
        ] {
            assert_eq!(tree_id(text), Ok(id), "{text}");
        }
        for text in ["", "0", "nonsense", "fs_", "-1"] {
            assert!(tree_id(text).is_err(), "{text}");
        }
    }
}
