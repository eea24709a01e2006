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

use crate::support::change::*;
use crate::support::random::Random;
use crate::support::soundness::*;
