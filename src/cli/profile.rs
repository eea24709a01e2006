//! Profiles as people write them.

use crate::disk::Profile;

/// The profile of this name, upper or lower case.
pub fn parse(name: &str) -> Result<Profile, String> {
    let found = Profile::ALL.into_iter().find(|profile| profile.name().eq_ignore_ascii_case(name));
    found.ok_or_else(|| format!("expected one of {}", Profile::ALL.map(Profile::name).join(", ")))
}
