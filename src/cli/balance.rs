//! `rbtrfs balance`

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use anstyle::Style;
use anyhow::bail;
use clap::{ArgMatches, Args as _, FromArgMatches};
use serde::Serialize;

use crate::balance::{self, Balance, Chosen, Filters, Plan};
use crate::disk::Logical;
use crate::disk::flags::block_group;
use crate::dump::layout::Layout;
use crate::dump::svg::Panel;
use crate::error::BalanceProblem;
use crate::relocate::Moved;
use crate::trans::Filesystem;

use super::change::Images;
use super::color::{self, Palette};
use super::columns::{Columns, Side};
use super::exit::Exit;
use super::moved::{self, MovedRecord};
use super::words::{HumanBytes, counted};
use super::{document, output, svg};

#[derive(Debug, clap::Args)]
struct Args {
    /// Balance data block groups, those that pass the filters
    #[arg(short, long, value_name = "FILTERS", num_args = 0..=1, require_equals = true)]
    data: Option<Option<Filters>>,

    /// Balance metadata block groups; system ones with the same filters if nothing is said of them
    #[arg(short, long, value_name = "FILTERS", num_args = 0..=1, require_equals = true)]
    metadata: Option<Option<Filters>>,

    /// Balance system block groups
    #[arg(short, long, value_name = "FILTERS", num_args = 0..=1, require_equals = true)]
    system: Option<Option<Filters>>,

    /// Balance all block groups
    #[arg(long, conflicts_with_all = ["data", "metadata", "system"])]
    full: bool,

    /// Give metadata a profile of less redundancy, too
    #[arg(short, long)]
    force: bool,

    /// Go on with a balance of the kernel that is paused or was interrupted, with its filters
    #[arg(long, conflicts_with_all = ["data", "metadata", "system", "full"])]
    resume: bool,

    /// End a balance of the kernel that is paused or was interrupted, and move nothing
    #[arg(long, conflicts_with_all = ["data", "metadata", "system", "full", "resume"])]
    cancel: bool,

    /// Number of threads; as many as there are processors by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Print progress once a second where there is no terminal
    #[arg(short, long)]
    progress: bool,

    /// Draw the layouts before and after, as SVG in a new file
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    svg: Option<PathBuf>,

    #[command(flatten)]
    images: Images,
}

pub fn parser() -> clap::Command {
    Args::augment_args(
        clap::Command::new("balance").about("Move block groups together, and convert them to other profiles"),
    )
}

pub fn manual() -> String {
    include_str!("balance.manual").to_owned()
}

pub fn run(program: &str, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let args = Args::from_arg_matches(matches)?;
    if !args.is_chosen() {
        bail!("all block groups would be moved: say --full for that, or choose some with -d, -m or -s and filters");
    }
    let fs = args.images.open_for_change(program)?;
    if args.cancel {
        return args.cancel(fs);
    }
    let balance = args.balance(&fs)?;
    let plan = Plan::new(&fs, &balance)?;
    if args.images.dry_run {
        return args.tell_plan(&fs, &plan);
    }
    let job = moved::Job::new(args.threads, args.progress, args.images.quiet)?;
    let mut moved = Moved::default();
    let ended = job.run(|options| balance::run(fs, &plan, options, &mut moved)).map(drop);
    moved::finish(&moved, ended, || args.tell(&plan, &moved))
}

impl Args {
    fn is_chosen(&self) -> bool {
        let filters = [&self.data, &self.metadata, &self.system];
        self.full || self.resume || self.cancel || filters.iter().any(|filters| filters.is_some())
    }

    /// What is to be balanced. A balance that the kernel would go on with is not started over.
    fn balance(&self, fs: &Filesystem) -> crate::Result<Balance> {
        let item = fs.balance_item()?;
        match (&item, self.resume) {
            (Some(item), true) => return Ok(Balance { force: true, ..Balance::resumed(item)? }),
            (Some(item), false) => {
                let balance = Balance::of_item(item)?.to_string();
                return Err(BalanceProblem::Paused { balance }.into());
            }
            (None, true) => return Err(BalanceProblem::NonePaused.into()),
            (None, false) if self.full => return Ok(Balance { force: self.force, ..Balance::full() }),
            (None, false) => {}
        }
        let filters =
            |given: &Option<Option<Filters>>| given.as_ref().map(|filters| filters.clone().unwrap_or_default());
        let (data, metadata) = (filters(&self.data), filters(&self.metadata));
        let system = filters(&self.system).or_else(|| metadata.clone());
        Ok(Balance { data, metadata, system, force: self.force })
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    dry_run: bool,
    cancelled: Option<String>,
    block_groups: Vec<GroupRecord>,
    without_room: usize,
    moved: Option<MovedRecord>,
    layout: Option<&'a Layout>,
}

/// A block group that is emptied.
#[derive(Serialize)]
struct GroupRecord {
    logical: Logical,
    length: u64,
    used: u64,
    r#type: &'static str,
    profile: &'static str,
    into: &'static str,
}

impl GroupRecord {
    fn new(step: &Chosen) -> Self {
        Self {
            logical: step.chunk.logical,
            length: step.chunk.length,
            used: step.used,
            r#type: step.chunk.flags.type_name(),
            profile: step.chunk.profile.name(),
            into: step.into.name(),
        }
    }
}

impl Args {
    /// Ends a balance of the kernel.
    fn cancel(&self, mut fs: Filesystem) -> anyhow::Result<Exit> {
        let item = fs.balance_item()?.ok_or(BalanceProblem::NonePaused)?;
        // What is in it does not matter any more.
        let ended = Balance::of_item(&item).map_or_else(|error| error.to_string(), |balance| balance.to_string());
        if self.images.dry_run {
            self.tell_cancelled(&ended)?;
            return Ok(Exit::Done);
        }
        balance::end_paused(&mut fs)?;
        output::after_change(self.tell_cancelled(&ended))?;
        Ok(Exit::Done)
    }

    fn tell_cancelled(&self, ended: &str) -> anyhow::Result<()> {
        let verb = if self.images.dry_run { "would end" } else { "ended" };
        self.print(&format!("{verb} the balance {ended}\n"), || Document {
            schema: SCHEMA,
            dry_run: self.images.dry_run,
            cancelled: Some(ended.to_owned()),
            block_groups: Vec::new(),
            without_room: 0,
            moved: None,
            layout: None,
        })
    }

    fn tell_plan(&self, fs: &Filesystem, plan: &Plan) -> anyhow::Result<Exit> {
        if let Some(path) = &self.svg {
            let panels =
                [Panel { caption: "before", layout: &plan.before }, Panel { caption: "after", layout: &plan.after }];
            let title = format!("Balance of filesystem {}", fs.volume().superblock().fsid);
            svg::save(path, &title, &panels)?;
        }
        self.print(&plan_text(plan), || Document {
            schema: SCHEMA,
            dry_run: true,
            cancelled: None,
            block_groups: plan.steps.iter().map(GroupRecord::new).collect(),
            without_room: plan.without_room,
            moved: None,
            layout: Some(&plan.after),
        })?;
        Ok(if plan.without_room == 0 { Exit::Done } else { Exit::Failed })
    }

    fn tell(&self, plan: &Plan, moved: &Moved) -> anyhow::Result<()> {
        let text = match plan.steps.is_empty() {
            true => NOTHING.to_owned(),
            false => moved::text(moved),
        };
        self.print(&text, || Document {
            schema: SCHEMA,
            dry_run: false,
            cancelled: None,
            block_groups: plan.steps.iter().map(GroupRecord::new).collect(),
            without_room: 0,
            moved: Some(MovedRecord::new(moved)),
            layout: None,
        })
    }

    fn print<'a>(&self, text: &str, document: impl FnOnce() -> Document<'a>) -> anyhow::Result<()> {
        let mut out = output::stdout()?;
        if self.images.json {
            document::write(&mut out, &document())?;
        } else if !self.images.quiet {
            out.write_all(text.as_bytes())?;
        }
        Ok(())
    }
}

const SCHEMA: &str = "rbtrfs.balance/1";
const NOTHING: &str = "nothing to balance: no block group passes the filters\n";

fn plan_text(plan: &Plan) -> String {
    if plan.steps.is_empty() {
        return NOTHING.to_owned();
    }
    let mut text = String::new();
    let with_room = plan.steps.len() - plan.without_room;
    for (number, step) in plan.steps.iter().enumerate() {
        let GroupRecord { logical, length, used, r#type, profile, into } = GroupRecord::new(step);
        let verb = if number < with_room { "would empty" } else { "has no room to empty" };
        let _ = writeln!(
            text,
            "{verb} {type} {profile} block group {logical} into {into}: {} of {} used",
            HumanBytes(used),
            HumanBytes(length)
        );
    }
    let moved = |types| HumanBytes(plan.bytes(types));
    let (data, metadata) = (moved(block_group::DATA), moved(block_group::METADATA | block_group::SYSTEM));
    let _ = writeln!(text, "would move {data} of data and {metadata} of metadata");
    if plan.without_room > 0 {
        let (groups, lack) = (counted(plan.without_room as u64, "block group"), HumanBytes(plan.lack));
        let _ = writeln!(text, "no room for {groups}: {lack} more would do for the first of them");
    }
    text + "\n" + &layout_text(&plan.before, &plan.after)
}

/// Chunks, bytes and used bytes by type and profile.
fn totals(layout: &Layout) -> BTreeMap<(&'static str, &'static str), [u64; 3]> {
    let mut totals = BTreeMap::new();
    for chunk in &layout.chunks {
        let sums: &mut [u64; 3] = totals.entry((chunk.r#type.type_name(), chunk.profile)).or_default();
        let [count, length, used] = sums;
        (*count, *length, *used) = (*count + 1, *length + chunk.length, *used + chunk.used.unwrap_or_default());
    }
    totals
}

fn layout_text(before: &Layout, after: &Layout) -> String {
    let (before_totals, after_totals) = (totals(before), totals(after));
    let (left, right) = (Side::Left, Side::Right);
    let headings = [
        ("TYPE", left),
        ("PROFILE", left),
        ("CHUNKS", right),
        ("AFTER", right),
        ("SIZE", right),
        ("AFTER", right),
        ("USED AFTER", right),
    ];
    let mut table = Columns::new(headings, color::HEADING);
    let bytes = |bytes: u64| HumanBytes(bytes).to_string();
    let kinds: BTreeSet<_> = before_totals.keys().chain(after_totals.keys()).collect();
    for kind in kinds {
        let [old, new] = [&before_totals, &after_totals].map(|totals| totals.get(kind).copied().unwrap_or_default());
        let [kind, profile] = [kind.0, kind.1].map(str::to_owned);
        let [old_count, count] = [old[0], new[0]].map(|count| count.to_string());
        let [old_size, size, used] = [old[1], new[1], new[2]].map(bytes);
        table.row([kind, profile, old_count, count, old_size, size, used], Style::new());
    }
    let mut unallocated: [String; 7] = Default::default();
    unallocated[0] = "unallocated".to_owned();
    [unallocated[4], unallocated[5]] = [before, after].map(|layout| bytes(layout.unallocated()));
    table.row(unallocated, Style::new());
    table.text(Palette::of_stdout())
}
