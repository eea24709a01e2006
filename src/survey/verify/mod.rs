//! The data itself: every checksum against every copy, and parity against the data.

mod csums;
mod files;
mod flaw;
mod piece;
mod run;
mod segment;

pub use files::FileRange;
pub use flaw::{Flaw, FlawKind};
pub use piece::{Amounts, BadSector, SectorVisitor};
pub use run::{Known, Verified, verify};
