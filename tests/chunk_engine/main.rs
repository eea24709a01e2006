//! Many threads change chunks at once, and the machine stops at any moment: what is committed is whole.

mod commits;
mod crash;
mod herd;
mod model;
#[path = "../support/mod.rs"]
mod support;

use support::change::*;
