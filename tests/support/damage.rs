//! Cases of damage to filesystems of the kernel: one problem each, which is to be found for itself and at its place.

use rbtrfs::finding::Finding;
use rbtrfs::problem::Problem;
use serde_json::Value;

use super::inject::Injector;
use super::repaired::judge_repair;
use super::soundness::{beyond_notes, describe};
use super::{check, kernel_image_or_skip, open};

/// Damage of one kind to a filesystem that the kernel made. `also` are the problems that come with it because it takes
/// more than one change; no other may be reported.
pub struct Case {
    pub code: &'static str,
    image: &'static str,
    also: &'static [&'static str],
    /// Returns values that the problem must have.
    damage: Box<dyn Fn(&Injector) -> Value>,
}

pub fn case(code: &'static str, damage: impl Fn(&Injector) -> Value + 'static) -> Case {
    Case { code, image: "single", also: &[], damage: Box::new(damage) }
}

impl Case {
    pub fn on(self, image: &'static str) -> Self {
        Self { image, ..self }
    }

    pub fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }
}

/// What a check says beyond notes.
pub fn problems_of(injector: &Injector) -> Vec<Problem> {
    beyond_notes(check(&open(injector.images()), 2))
}

/// Whether a problem has this code, and these values among its own.
pub fn is(problem: &Problem, code: &str, values: &Value) -> bool {
    let has = serde_json::to_value(problem).unwrap();
    problem.code() == code && values.as_object().unwrap().iter().all(|(name, value)| has.get(name) == Some(value))
}

/// Fails on cases whose problem is not found, and on those with which anything else is found. Problems that are not
/// `judged` are passed over.
pub fn assert_each_is_found_for_itself(cases: &[Case], judged: fn(&Problem) -> bool) {
    let mut failures = String::new();
    for case in cases {
        let Some(images) = kernel_image_or_skip(case.image) else { return };
        let injector = Injector::new(&images);
        let expected = (case.damage)(&injector);
        let mut found = problems_of(&injector);
        found.retain(judged);
        let is_expected = |problem: &Problem| is(problem, case.code, &expected);
        let is_unrelated = |problem: &Problem| problem.code() != case.code && !case.also.contains(&problem.code());
        let lacks = |code: &&str| !found.iter().any(|problem| problem.code() == *code);
        let (line, is_fault) = judge_repair(case.code, case.image, injector.images());
        println!("{line}");
        if is_fault {
            failures += &format!("{line}\n");
        }
        if !found.iter().any(is_expected) || found.iter().any(is_unrelated) || case.also.iter().any(lacks) {
            failures += &format!("{} on {} {expected}, found{}\n", case.code, case.image, describe(&found));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
