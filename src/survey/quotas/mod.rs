//! Quota groups: the bytes that they store, and those that the trees hold.
//!
//! Full quotas count what each subvolume reaches, and what it reaches alone (`sharing`). Simple quotas count each
//! extent for the one subvolume that made it (`owned`). Nothing is gathered for a filesystem without quotas.

mod count;
mod groups;
mod owned;
mod rules;
mod sharing;

pub use count::{Counted, UsagePart, count};
pub use groups::{Usage, info_key};
pub use owned::Owned;
pub use rules::{Quotas, Unsettled};
pub use sharing::Pointers;
