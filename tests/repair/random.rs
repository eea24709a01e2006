//! Random damage: whatever a repair says is clean is so for others, and files whose own metadata was not hit survive.

use crate::outcome::{beside, contents, is_beside, judge, number, share};
use crate::support::damages::Target;
use crate::support::inject::Injector;
use crate::support::kernel_image_or_skip;
use crate::support::random::Random;
use crate::support::repaired::repaired_with_data;
use crate::support::soundness::{beyond_notes, describe};

/// `RBTRFS_REPAIR_BESIDE` has `btrfs check --repair` tried on the same damage. `RBTRFS_REPAIR_ROUNDS` asks for more rounds than
/// the few of every day, and `RBTRFS_REPAIR_SEED` for others.
#[test]
fn no_random_damage_makes_a_repair_call_clean_what_others_do_not() {
    let (rounds, seed) = (number("RBTRFS_REPAIR_ROUNDS", 6), number("RBTRFS_REPAIR_SEED", 1));
    for image in ["snapshots", "load"] {
        let Some(images) = kernel_image_or_skip(image) else { return };
        let before = contents(&images);
        for round in number("RBTRFS_REPAIR_FIRST", 0)..rounds {
            let mut random = Random((seed * 1000 + round).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let injector = Injector::new(&images);
            let target = Target::new(&injector);
            let done = match round % 4 {
                3 => vec![target.damage_much(&mut random)],
                1 => target.damage_blocks(2 + random.below(19), &mut random),
                _ => target.damage_blocks(1, &mut random),
            };
            if is_beside() {
                let (verdict, after) = beside(injector.images());
                let (saved, all) = share(&before, &after);
                println!("{image} {round} beside: {verdict}, {saved} of {all} files");
            }
            // A bit that flipped in a checksum shows in the data alone.
            let outcome = repaired_with_data(injector.images());
            let verdict = judge(injector.images(), &outcome);
            let after = contents(injector.images());
            let (saved, all) = share(&before, &after);
            let given_up = outcome.as_ref().map_or(0, |repaired| repaired.given_up().count());
            println!("{image} {round}: {verdict}, {saved} of {all} files, {given_up} given up; {}", done.join(", "));
            if let (false, Ok(repaired)) = (verdict == "clean", &outcome) {
                let left = describe(&beyond_notes(repaired.after.problems.clone()));
                println!("{image} {round} left:{left}\nstopped by {:?}", repaired.stopped);
            }
            if verdict == "clean" && saved != all && given_up == 0 {
                // A bit that flipped in what nothing is known of, such as inline data, shows in nothing.
                let lost: Vec<_> = before.iter().filter(|(path, hash)| after.get(*path) != Some(*hash)).collect();
                let fixes = outcome.as_ref().map(|repaired| repaired.fixes.clone()).unwrap_or_default();
                let names: Vec<_> = lost.iter().map(|(path, _)| path.escape_ascii().to_string()).collect();
                panic!("files are lost without a word: {names:?}, {fixes:?}");
            }
        }
    }
}
