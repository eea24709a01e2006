//! Many threads change chunks at once, and the machine stops at any moment: what is committed is whole.

mod commits;
mod crash;
mod deadlock;
mod exhausted;
mod herd;
mod kernel;
mod model;
mod promises;
mod sizes;
mod state;
#[path = "../support/mod.rs"]
mod support;

use support::change::*;
use support::random::Random;
use support::soundness::*;
