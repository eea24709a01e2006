//! Quota groups are counted as the kernel and btrfs-progs count them, and what is stored wrong is found for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::damage::is;
use crate::support::inject::Injector;
use crate::support::mounted::unmount;
use crate::support::soundness::{beyond_notes, describe};
use crate::support::{Scratch, copy_of_kernel_image_or_skip, kernel_image_or_skip, open, or_skip, run_rbtrfs, tool};
use rbtrfs::check::{Options, QgroupReport, check};
use rbtrfs::disk::flags::qgroup_status::{INCONSISTENT, ON, RESCAN};
use rbtrfs::disk::key::QgroupId;
use rbtrfs::disk::objectid::{FS_TREE, QUOTA_TREE, is_fs_tree};
use rbtrfs::disk::quota::{QgroupInfoItem, QgroupStatusItem};
use rbtrfs::disk::{Key, KeyType};
use rbtrfs::finding::{Finding, Severity};
use rbtrfs::problem::{Problem, QuotaProblem};
use rbtrfs::progress::Progress;
use rbtrfs::tree::{Levels, Walk};
use serde_json::{Value, json};

const IMAGES: [&str; 4] = ["quota", "squota", "quota-sharing", "squota-sharing"];

/// Problems, and what is said of quota groups when that is asked for.
fn report(images: &[PathBuf], memory: u64, count_qgroups: bool) -> (Vec<Problem>, Vec<QgroupReport>) {
    let options = Options { threads: 2, memory, progress: &Progress::default(), count_qgroups, check_data_csum: false };
    let report = check(&open(images), &options).unwrap();
    (report.problems, report.qgroups)
}

/// Referenced and exclusive bytes by group.
type Counts = BTreeMap<String, (u64, u64)>;

fn counted(images: &[PathBuf], memory: u64) -> Counts {
    let (_, qgroups) = report(images, memory, true);
    let counts = |row: QgroupReport| (row.qgroup.to_string(), row.counted.expect("all is known"));
    qgroups.into_iter().map(counts).map(|(qgroup, usage)| (qgroup, (usage.rfer, usage.excl))).collect()
}

/// What the kernel shows of a filesystem, after a rescan if it counts in full.
fn counted_by_the_kernel(image: &Path, mount: &Path, rescan: bool) -> Counts {
    std::fs::create_dir(mount).unwrap();
    let run = |command: &str, words: &[&str]| {
        Command::new(command).args(words).arg(mount).output().unwrap_or_else(|error| panic!("{command}: {error}"))
    };
    assert!(Command::new("mount").args(["-o", "loop"]).arg(image).arg(mount).status().unwrap().success());
    let rescanned = !rescan || run("btrfs", &["quota", "rescan", "-w"]).status.success();
    let shown = run("btrfs", &["qgroup", "show", "--raw", "--sync"]);
    unmount(mount);
    assert!(rescanned && shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let numbers = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some((words.first()?.to_string(), (words.get(1)?.parse().ok()?, words.get(2)?.parse().ok()?)))
    };
    String::from_utf8(shown.stdout).unwrap().lines().filter_map(numbers).collect()
}

fn info(qgroup: u64) -> Key {
    Key::new(0, KeyType::QGROUP_INFO, qgroup)
}

fn groups(injector: &Injector) -> Vec<Key> {
    let keys = injector.items(QUOTA_TREE).into_iter().map(|(key, _)| key);
    keys.filter(|key| key.key_type == KeyType::QGROUP_INFO).collect()
}

fn edit_status(injector: &Injector, edit: impl Fn(&mut QgroupStatusItem)) {
    injector.item_as(QUOTA_TREE, Key::new(0, KeyType::QGROUP_STATUS, 0), edit);
}

#[test]
fn full_quotas_are_counted_as_in_a_rescan_of_the_kernel() {
    for name in ["quota", "quota-sharing"] {
        let scratch = Scratch::new();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let ours = counted(&images, 1 << 30);
        // So that what the kernel shows is what it counts, and not what it had stored.
        let injector = Injector::new(&images);
        for key in groups(&injector) {
            injector.item_as(QUOTA_TREE, key, |info: &mut QgroupInfoItem| {
                info.rfer = 4096.into();
                info.excl = 4096.into();
            });
        }
        edit_status(&injector, |status| status.flags = (ON | INCONSISTENT).into());
        let kernel = counted_by_the_kernel(&injector.images()[0], &scratch.path("mount"), true);
        assert!(!ours.is_empty());
        assert_eq!(ours, kernel, "{name}");
    }
}

#[test]
fn simple_quotas_are_counted_as_the_kernel_keeps_them() {
    for name in ["squota", "squota-sharing"] {
        let scratch = Scratch::new();
        let Some(images) = copy_of_kernel_image_or_skip(name, &scratch) else { return };
        let ours = counted(&images, 1 << 30);
        assert!(!ours.is_empty());
        assert_eq!(ours, counted_by_the_kernel(&images[0], &scratch.path("mount"), false), "{name}");
    }
}

#[test]
fn full_quotas_are_counted_as_in_btrfs_progs() {
    for name in ["quota", "quota-sharing"] {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let words = ["check".as_ref(), "--qgroup-report".as_ref(), images[0].as_os_str()];
        let Some(text) = or_skip(tool("btrfs", words)) else { return };
        let mut theirs = Counts::new();
        let mut qgroup = String::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["Counts", "for", "qgroup", "id:", id, ..] => qgroup = id.to_owned(),
                ["our:", "referenced", bytes, ..] => {
                    theirs.entry(qgroup.clone()).or_default().0 = bytes.parse().unwrap()
                }
                ["our:", "exclusive", bytes, ..] => {
                    theirs.entry(qgroup.clone()).or_default().1 = bytes.parse().unwrap()
                }
                _ => {}
            }
        }
        assert_eq!(counted(&images, 1 << 30), theirs, "{name}");
    }
}

#[test]
fn sound_quotas_have_no_problems() {
    for name in IMAGES {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let (mut found, _) = report(&images, 1 << 30, false);
        assert!(!found.iter().any(|problem| problem.code() == "qgroup-unsettled"), "{name} is not counted");
        found = beyond_notes(found);
        assert!(found.is_empty(), "{name}:{}", describe(&found));
    }
}

#[test]
fn counts_do_not_depend_on_memory() {
    for name in IMAGES {
        let Some(images) = kernel_image_or_skip(name) else { return };
        assert_eq!(counted(&images, 0), counted(&images, 1 << 30), "{name}");
    }
}

/// Damage of one kind.
struct Case {
    code: &'static str,
    images: &'static [&'static str],
    /// Returns values that the problem must have.
    damage: fn(&Injector) -> Value,
}

const fn case(code: &'static str, damage: fn(&Injector) -> Value) -> Case {
    Case { code, images: &IMAGES, damage }
}

const GROUP: u64 = 1 << 48;

fn first_member(injector: &Injector) -> QgroupId {
    let relations = injector.items(QUOTA_TREE).into_iter().map(|(key, _)| key);
    let mut members = relations.filter(|key| key.key_type == KeyType::QGROUP_RELATION && key.offset == GROUP);
    QgroupId(members.next().expect("the group has members").objectid)
}

fn relation(member: QgroupId, group: u64) -> [Key; 2] {
    [Key::new(member.0, KeyType::QGROUP_RELATION, group), Key::new(group, KeyType::QGROUP_RELATION, member.0)]
}

fn edit_info(injector: &Injector, qgroup: u64, edit: impl Fn(&mut QgroupInfoItem)) -> Value {
    injector.item_as(QUOTA_TREE, info(qgroup), edit);
    json!({"qgroup": QgroupId(qgroup).to_string()})
}

fn cases() -> Vec<Case> {
    vec![
        case("qgroup-referenced", |it| edit_info(it, FS_TREE, |info| info.rfer = (info.rfer.get() + 4096).into())),
        case("qgroup-referenced", |it| edit_info(it, GROUP, |info| info.rfer = 0.into())),
        case("qgroup-referenced", |it| {
            let member = first_member(it).0;
            edit_info(it, member, |info| info.rfer = u64::MAX.into())
        }),
        case("qgroup-exclusive", |it| edit_info(it, FS_TREE, |info| info.excl = (info.excl.get() - 1).into())),
        case("qgroup-exclusive", |it| edit_info(it, GROUP, |info| info.excl = (info.excl.get() + 1).into())),
        case("qgroup-unsettled", |it| {
            edit_status(it, |status| status.flags = (status.flags.get() | INCONSISTENT).into());
            json!({"reason": "inconsistent"})
        }),
        case("qgroup-unsettled", |it| {
            edit_status(it, |status| status.flags = (status.flags.get() | RESCAN | INCONSISTENT).into());
            json!({"reason": "rescan"})
        }),
        case("qgroup-unsettled", |it| {
            edit_status(it, |status| status.flags = (status.flags.get() & !ON).into());
            json!({"reason": "off"})
        }),
        case("qgroup-unsettled", |it| {
            edit_status(it, |status| status.generation = (status.generation.get() - 1).into());
            json!({"reason": "outdated"})
        }),
        case("qgroup-subvolume-missing", |it| {
            it.insert_item(QUOTA_TREE, info(9999), &[0; size_of::<QgroupInfoItem>()]);
            it.insert_item(QUOTA_TREE, Key::new(0, KeyType::QGROUP_LIMIT, 9999), &[0; 40]);
            json!({"qgroup": "0/9999"})
        }),
        case("qgroup-info-missing", |it| {
            it.insert_item(QUOTA_TREE, Key::new(0, KeyType::QGROUP_LIMIT, 9999), &[0; 40]);
            json!({"qgroup": "0/9999"})
        }),
        case("qgroup-limit-missing", |it| {
            it.remove_item(QUOTA_TREE, Key::new(0, KeyType::QGROUP_LIMIT, FS_TREE));
            json!({"qgroup": "0/5"})
        }),
        case("qgroup-relation-orphan", |it| {
            relation(QgroupId(FS_TREE), GROUP + 99).iter().for_each(|key| it.insert_item(QUOTA_TREE, *key, &[]));
            json!({"member": "0/5", "group": "1/99", "missing": "1/99"})
        }),
        // The side that the kernel does not read: with the other the counts would go.
        case("qgroup-relation-one-sided", |it| {
            let member = first_member(it);
            it.remove_item(QUOTA_TREE, relation(member, GROUP)[1]);
            json!({"member": member.to_string(), "group": "1/0", "with": member.to_string()})
        }),
    ]
}

#[test]
fn each_kind_of_damage_is_found_for_itself() {
    let mut failures = String::new();
    for (case, image) in cases().iter().flat_map(|case| case.images.iter().map(move |image| (case, image))) {
        let Some(images) = kernel_image_or_skip(image) else { return };
        let known: BTreeSet<Problem> = report(&images, 1 << 30, false).0.into_iter().collect();
        let injector = Injector::new(&images);
        let expected = (case.damage)(&injector);
        let mut found = report(injector.images(), 1 << 30, false).0;
        found.retain(|problem| !known.contains(problem));
        if found.len() != 1 || !is(&found[0], case.code, &expected) {
            failures += &format!("{image} {} {expected}, found{}\n", case.code, describe(&found));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn each_kind_of_problem_has_a_case() {
    let kinds: BTreeSet<_> = QuotaProblem::KINDS.iter().map(|kind| kind.code).collect();
    let covered: BTreeSet<_> = cases().iter().map(|case| case.code).collect();
    assert_eq!(kinds, covered);
}

#[test]
fn a_member_that_the_group_does_not_count_is_found() {
    for name in IMAGES {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let injector = Injector::new(&images);
        let member = first_member(&injector);
        relation(member, GROUP).iter().for_each(|key| injector.remove_item(QUOTA_TREE, *key));
        let (found, _) = report(injector.images(), 1 << 30, false);
        let of_group = |problem: &&Problem| serde_json::to_value(problem).unwrap()["qgroup"] == "1/0";
        let codes: Vec<_> = found.iter().filter(of_group).map(Finding::code).collect();
        assert!(codes.contains(&"qgroup-referenced"), "{name}:{}", describe(&found));
    }
}

#[test]
fn counts_that_are_known_to_be_wrong_are_no_damage() {
    let Some(images) = kernel_image_or_skip("quota") else { return };
    let injector = Injector::new(&images);
    edit_status(&injector, |status| status.flags = (ON | INCONSISTENT).into());
    edit_info(&injector, FS_TREE, |info| info.rfer = 1.into());
    let run = run_rbtrfs("check -v --qgroup-report", injector.images());
    assert_eq!(run.code, 0, "{}", run.stdout);
    let line = run.stdout.lines().find(|line| line.starts_with("0/5 ")).expect("the group is shown");
    assert!(line.ends_with(" no") && line.split_whitespace().nth(1) == Some("1"), "{line}");
    assert!(run.stdout.contains("note: qgroup-unsettled: "));
}

#[test]
fn the_report_is_part_of_the_document() {
    let Some(images) = kernel_image_or_skip("quota") else { return };
    let injector = Injector::new(&images);
    edit_info(&injector, GROUP, |info| info.excl = 7.into());
    let run = run_rbtrfs("check --json --qgroup-report", injector.images());
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(run.code, 1);
    let of = |qgroup: &str| {
        let mut rows = document["qgroups"].as_array().unwrap().iter();
        rows.find(|row| row["qgroup"] == qgroup).unwrap().clone()
    };
    assert_eq!((&of("1/0")["agrees"], &of("1/0")["stored"]["excl"]), (&false.into(), &7.into()));
    assert_eq!(of("0/5")["agrees"], true);
    assert_eq!(of("0/5")["stored"], of("0/5")["counted"]);
    let plain: Value = serde_json::from_str(&run_rbtrfs("check --json", injector.images()).stdout).unwrap();
    assert_eq!(plain.get("qgroups"), None);
}

#[test]
fn a_block_that_is_lost_says_nothing_of_quotas() {
    for name in ["quota-sharing", "squota-sharing"] {
        let Some(images) = kernel_image_or_skip(name) else { return };
        let injector = Injector::new(&images);
        let volume = injector.volume();
        let roots = rbtrfs::tree::TreeRoot::root_tree(&volume).children(&volume);
        let trees = roots.iter().filter(|root| is_fs_tree(root.key.objectid) || root.key.objectid == QUOTA_TREE);
        let blocks: BTreeSet<_> = trees
            .flat_map(|root| Walk::new(&volume, root.expected(), Levels::All))
            .map(|block| block.logical)
            .collect();
        let step = blocks.len() / 12;
        assert!(step > 0);
        for block in blocks.into_iter().step_by(step) {
            injector.block_unstamped(block, |bytes| bytes[200] ^= 1);
            let (found, rows) = report(injector.images(), 1 << 30, true);
            injector.block_unstamped(block, |bytes| bytes[200] ^= 1);
            let is_of_counts =
                |problem: &Problem| matches!(problem, Problem::Quota(_)) && problem.severity() > Severity::Note;
            assert!(found.iter().any(|problem| problem.code() == "block-unreadable"));
            assert!(!found.iter().any(is_of_counts), "{name} block {block}:{}", describe(&found));
            assert!(rows.iter().all(|row| row.counted.is_none()));
        }
    }
}
