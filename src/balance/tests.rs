//! Filters as they are written, and block groups at their bounds.

use super::*;
use crate::disk::flags::{balance_args, block_group};
use crate::disk::volume::{BalanceItem, DiskBalanceArgs};
use crate::disk::{BlockGroupFlags, Logical, Physical, Profile};
use crate::volume::ChunkMapping;
use crate::volume::chunk_items::new_chunk;

const MIB: u64 = 1 << 20;

/// A chunk at 1 GiB with a stripe of 100 MiB at 10 MiB of each of its devices.
fn chunk(profile: Profile, devids: &[u64]) -> ChunkMapping {
    let stripes: Vec<(u64, Physical)> = devids.iter().map(|devid| (*devid, Physical(10 * MIB))).collect();
    let length = 100 * MIB * u64::from(profile.data_stripes(stripes.len() as u16));
    let flags = BlockGroupFlags(block_group::DATA | profile.geometry().bit);
    new_chunk(Logical(1 << 30), length, &stripes, flags, profile, 4096, |_| Default::default()).unwrap()
}

fn accepts(filters: &str, chunk: &ChunkMapping, used: u64) -> bool {
    filters.parse::<Filters>().unwrap().accepts(chunk, used)
}

#[test]
fn a_bound_is_not_taken_for_the_number_beside_it() {
    let single = chunk(Profile::Single, &[1]);
    for (filters, used, expected) in [
        ("", 0, true),
        ("usage=0", 0, true),
        ("usage=0", 1, false),
        ("usage=30", 30 * MIB - 1, true),
        ("usage=30", 30 * MIB, false),
        ("usage=100", 100 * MIB - 1, true),
        ("usage=100", 100 * MIB, false),
        ("usage=30..40", 30 * MIB, true),
        ("usage=30..40", 30 * MIB - 1, false),
        ("usage=30..40", 40 * MIB, false),
        ("usage=..40", 0, true),
        ("usage=..0", 0, true),
        ("usage=..0", 1, false),
    ] {
        assert_eq!(accepts(filters, &single, used), expected, "{filters} {used}");
    }
    let (start, end) = (1 << 30, (1 << 30) + 100 * MIB);
    for (filters, expected) in [
        (format!("vrange={end}.."), false),
        (format!("vrange={}..", end - 1), true),
        (format!("vrange=0..{start}"), false),
        (format!("vrange=0..{}", start + 1), true),
        (format!("devid=1,drange=0..{}", 10 * MIB), false),
        (format!("devid=1,drange=0..{}", 10 * MIB + 1), true),
        (format!("devid=1,drange={}..", 110 * MIB), false),
        (format!("devid=1,drange={}..", 110 * MIB - 1), true),
        (format!("devid=2,drange={}..", 0), false),
    ] {
        assert_eq!(accepts(&filters, &single, 0), expected, "{filters}");
    }
}

#[test]
fn a_stripe_is_as_long_as_its_profile_makes_it() {
    for (profile, devids) in [
        (Profile::Dup, &[1, 1][..]),
        (Profile::Raid1c3, &[1, 2, 3]),
        (Profile::Raid0, &[1, 2, 3]),
        (Profile::Raid10, &[1, 2, 3, 4]),
        (Profile::Raid5, &[1, 2, 3]),
        (Profile::Raid6, &[1, 2, 3, 4]),
    ] {
        let chunk = chunk(profile, devids);
        assert!(accepts(&format!("devid=1,drange={}..", 110 * MIB - 1), &chunk, 0), "{profile:?}");
        assert!(!accepts(&format!("devid=1,drange={}..", 110 * MIB), &chunk, 0), "{profile:?}");
        let stripes = devids.len();
        assert!(accepts(&format!("stripes={stripes}..{stripes}"), &chunk, 0), "{profile:?}");
        assert!(!accepts(&format!("stripes={}..", stripes + 1), &chunk, 0), "{profile:?}");
        assert!(!accepts(&format!("stripes=..{}", stripes - 1), &chunk, 0), "{profile:?}");
        let name = profile.name().to_lowercase();
        assert!(accepts(&format!("profiles=single|{name}"), &chunk, 0), "{profile:?}");
        assert!(!accepts("profiles=single", &chunk, 0), "{profile:?}");
        assert!(accepts(&format!("convert={name}"), &chunk, 0), "{profile:?}");
        assert!(!accepts(&format!("convert={name},soft"), &chunk, 0), "{profile:?}");
        assert!(accepts("convert=single,soft", &chunk, 0), "{profile:?}");
    }
}

#[test]
fn a_filter_is_taken_as_it_is_written_or_refused() {
    for text in [
        "",
        "usage=7",
        "usage=7..70",
        "devid=3,drange=5..9",
        "vrange=0..18446744073709551615",
        "limit=4",
        "limit=2..4",
        "stripes=1..2",
        "profiles=single|raid1c3",
        "convert=raid10,soft,profiles=raid1,usage=5,devid=1,drange=1..2,vrange=3..4,limit=5..6,stripes=7..8",
    ] {
        assert_eq!(text.parse::<Filters>().unwrap().to_string(), text);
    }
    for (text, meaning) in [
        ("usage=5,,usage=6,", "usage=6"),
        ("limit=2..", "limit=2..4294967295"),
        ("stripes=..3", "stripes=0..3"),
        ("usage=5..", "usage=5..100"),
        ("convert=RAID1", "convert=raid1"),
    ] {
        assert_eq!(text.parse::<Filters>().unwrap().to_string(), meaning);
    }
    for text in [
        "usage",
        "usage=",
        "usage=101",
        "usage=1..101",
        "usage=x",
        "usage=-1",
        "usage=2..1",
        "usage=..",
        "usage=1...2",
        "usage= 5",
        "usage=0x5",
        "devid=0",
        "devid=1..2",
        "drange=1..2",
        "devid=1,drange=2..2",
        "devid=1,drange=7",
        "vrange=3..3",
        "vrange=18446744073709551616..",
        "limit=a",
        "limit=0..4294967296",
        "stripes=2",
        "profiles=",
        "profiles=raid7",
        "profiles=single,raid1",
        "convert=raid1|dup",
        "convert",
        "soft",
        "soft=1,convert=dup",
        "nothing=1",
    ] {
        let refused = text.parse::<Filters>().expect_err(text).to_string();
        assert!(!refused.contains('\n') && text.contains(refused.split(' ').next().unwrap()), "{text}: {refused}");
    }
}

fn args(flags: u64, change: impl FnOnce(&mut DiskBalanceArgs)) -> DiskBalanceArgs {
    let item = <BalanceItem as zerocopy::FromZeros>::new_zeroed();
    let mut args = item.data;
    args.flags = flags.into();
    change(&mut args);
    args
}

#[test]
fn a_paused_balance_goes_on_as_the_kernel_would() {
    use balance_args::*;
    let usage = |low: u32, high: u32| {
        move |args: &mut DiskBalanceArgs| (args.usage_min, args.usage_max) = (low.into(), high.into())
    };
    for (args, begun, resumed) in [
        (args(0, |_| ()), "", "usage=90"),
        (args(USAGE, usage(20, 0)), "usage=20", "usage=20"),
        (args(USAGE_RANGE, usage(20, 30)), "usage=20..30", "usage=20..30"),
        // Both forms at once, as btrfs-progs 6.2 has them: the single number counts.
        (args(USAGE | USAGE_RANGE, usage(0, 30)), "usage=0", "usage=0"),
        (args(LIMIT_RANGE, |args| args.limit_max = 3.into()), "limit=3", "usage=90,limit=3"),
        (args(CONVERT, |args| args.target = (1 << 48).into()), "convert=single", "convert=single,soft"),
        (
            args(CONVERT | USAGE, |args| args.target = block_group::RAID1.into()),
            "convert=raid1,usage=0",
            "convert=raid1,soft,usage=0",
        ),
    ] {
        let filters = Filters::of_item(&args).unwrap();
        assert_eq!((filters.to_string(), filters.resumed().to_string()), (begun.to_owned(), resumed.to_owned()));
    }
    for bad in [args(1 << 40, |_| ()), args(CONVERT, |_| ()), args(CONVERT, |args| args.target = 0x30.into())] {
        assert!(Filters::of_item(&bad).is_err());
    }
}
