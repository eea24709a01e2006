//! Filters: which block groups of a type are balanced, and what they become (`should_balance_chunk` in fs/btrfs/volumes.c).

use std::fmt;
use std::str::FromStr;

use crate::disk::flags::balance_args::{
    CONVERT, DEVID, DRANGE, LIMIT, LIMIT_RANGE, PROFILES, SOFT, STRIPES_RANGE, USAGE, USAGE_RANGE, VRANGE,
};
use crate::disk::flags::{all, balance_args};
use crate::disk::volume::DiskBalanceArgs;
use crate::disk::{BlockGroupFlags, Profile};
use crate::error::{BalanceProblem, Error, Result};
use crate::volume::ChunkMapping;

use super::parse::{Bounds, Problem, bounds, narrow, number, profile_named, strict};

/// The filters for one type. A block group is balanced if it passes all of them; without any all are balanced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Profiles, of which the block group has one.
    pub profiles: Option<Vec<Profile>>,
    /// How full the block group is.
    pub usage: Option<Usage>,
    /// A device that the block group has a stripe on.
    pub devid: Option<u64>,
    /// Bytes of that device, of which a stripe of the block group has some; nothing is asked for without `devid`.
    pub drange: Option<HalfOpen>,
    /// Logical addresses, of which the block group has some.
    pub vrange: Option<HalfOpen>,
    /// How many block groups are balanced of those that pass the other filters.
    pub limit: Option<Limit>,
    /// How many stripes the block group has.
    pub stripes: Option<Inclusive>,
    /// The profile that the block groups get.
    pub convert: Option<Profile>,
    /// Whether block groups stay that have the profile of `convert`.
    pub soft: bool,
}

/// A range of which the end is not part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfOpen {
    /// The first number of the range.
    pub start: u64,
    /// The first number behind the range.
    pub end: u64,
}

/// A range of which both ends are part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inclusive {
    /// The least number.
    pub min: u32,
    /// The greatest number.
    pub max: u32,
}

/// How full a block group is, in percent of its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Less than so much; with 0 nothing at all.
    Below(u64),
    /// At least `min` and less than `max`; a `max` of 0 is nothing at all.
    Within(Inclusive),
}

/// How many block groups are balanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// With fewer than so many none is.
    pub min: u64,
    /// And no more than so many.
    pub max: u64,
}

/// So many percent of a length, rounded down.
fn percent(length: u64, percent: u64) -> u64 {
    u64::try_from(u128::from(length) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

impl Usage {
    fn accepts(self, used: u64, length: u64) -> bool {
        // Full block groups pass no filter for use: the bound is never part of the range.
        let below = |bound: u64| match bound {
            0 => used < 1,
            1..=100 => used < percent(length, bound),
            _ => used < length,
        };
        match self {
            Usage::Below(bound) => below(bound),
            Usage::Within(Inclusive { min, max }) => percent(length, min.into()) <= used && below(max.into()),
        }
    }
}

impl HalfOpen {
    /// Whether a range has a number in common with it.
    fn meets(self, start: u64, length: u64) -> bool {
        start < self.end && start.saturating_add(length) > self.start
    }
}

impl Filters {
    /// Whether a block group with `used` bytes in use passes all filters but the limit.
    pub fn accepts(&self, chunk: &ChunkMapping, used: u64) -> bool {
        let has_device = |devid: &u64| chunk.stripes.iter().any(|stripe| stripe.devid == *devid);
        let meets_on_device = |range: &HalfOpen| {
            let mut stripes = chunk.stripes.iter().filter(|stripe| self.devid == Some(stripe.devid));
            self.devid.is_none() || stripes.any(|stripe| range.meets(stripe.physical.0, chunk.stripe_size()))
        };
        let stripes = chunk.stripes.len() as u64;
        self.profiles.as_ref().is_none_or(|profiles| profiles.contains(&chunk.profile))
            && self.usage.is_none_or(|usage| usage.accepts(used, chunk.length))
            && self.devid.as_ref().is_none_or(has_device)
            && self.drange.as_ref().is_none_or(meets_on_device)
            && self.vrange.is_none_or(|range| range.meets(chunk.logical.0, chunk.length))
            && self.stripes.is_none_or(|Inclusive { min, max }| (min.into()..=max.into()).contains(&stripes))
            && !(self.soft && self.convert == Some(chunk.profile))
    }

    /// The filters of the item of a balance.
    ///
    /// # Errors
    /// Filters or profiles that are not known.
    pub fn of_item(args: &DiskBalanceArgs) -> Result<Self> {
        let flags = args.flags.get();
        if flags & !all(balance_args::NAMES) != 0 {
            return Err(Error::Damaged { problem: format!("the balance has unknown filters {flags:#x}") });
        }
        let is_set = |flag: u64| flags & flag != 0;
        let usage = Inclusive { min: args.usage_min.get(), max: args.usage_max.get() };
        let limit = Inclusive { min: args.limit_min.get(), max: args.limit_max.get() };
        // Where both forms are set the kernel takes the single number, which is the two halves in one.
        let single = |range: Inclusive| u64::from(range.max) << 32 | u64::from(range.min);
        let usage = match (is_set(USAGE), is_set(USAGE_RANGE)) {
            // It looks at the lower half alone to tell whether the number is zero.
            (true, _) => Some(Usage::Below(if usage.min == 0 { 0 } else { single(usage) })),
            (false, true) => Some(Usage::Within(usage)),
            (false, false) => None,
        };
        let limit = match (is_set(LIMIT), is_set(LIMIT_RANGE)) {
            (true, _) => Some(Limit { min: 0, max: single(limit) }),
            (false, true) => Some(Limit { min: limit.min.into(), max: limit.max.into() }),
            (false, false) => None,
        };
        let range = |flag: u64, start: u64, end: u64| is_set(flag).then_some(HalfOpen { start, end });
        let stripes = Inclusive { min: args.stripes_min.get(), max: args.stripes_max.get() };
        Ok(Self {
            profiles: is_set(PROFILES).then(|| profiles_of(args.profiles.get())),
            usage,
            devid: is_set(DEVID).then(|| args.devid.get()),
            drange: range(DRANGE, args.pstart.get(), args.pend.get()),
            vrange: range(VRANGE, args.vstart.get(), args.vend.get()),
            limit,
            stripes: is_set(STRIPES_RANGE).then_some(stripes),
            convert: is_set(CONVERT).then(|| target_of(args.target.get())).transpose()?,
            soft: is_set(SOFT),
        })
    }

    /// The filters with which the kernel goes on with a balance (`update_balance_args` in fs/btrfs/volumes.c): what is
    /// converted is not converted again, and what is nearly full counts as balanced.
    #[must_use]
    pub fn resumed(mut self) -> Self {
        self.soft |= self.convert.is_some();
        if self.convert.is_none() {
            self.usage = self.usage.or(Some(Usage::Below(90)));
        }
        self
    }
}

/// The profiles of these bits, of which single has one of its own.
fn profiles_of(bits: u64) -> Vec<Profile> {
    let bit = |profile: Profile| match profile {
        Profile::Single => BlockGroupFlags::AVAIL_SINGLE,
        other => other.geometry().bit,
    };
    Profile::ALL.into_iter().filter(|profile| bits & bit(*profile) != 0).collect()
}

fn target_of(bits: u64) -> Result<Profile> {
    match profiles_of(bits)[..] {
        [profile] => Ok(profile),
        _ => Err(Error::Damaged { problem: format!("the balance converts to no profile that is known: {bits:#x}") }),
    }
}

impl FromStr for Filters {
    type Err = Error;

    /// Filters with commas between them, as `btrfs balance start` takes them.
    fn from_str(text: &str) -> Result<Self> {
        let mut filters = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            filters.take(word).map_err(|problem| BalanceProblem::Filter { filter: word.to_owned(), problem })?;
        }
        let contradiction = match () {
            () if filters.drange.is_some() && filters.devid.is_none() => ("drange", "needs devid as well"),
            () if filters.soft && filters.convert.is_none() => ("soft", "needs convert as well"),
            () => return Ok(filters),
        };
        Err(BalanceProblem::Filter { filter: contradiction.0.to_owned(), problem: contradiction.1 }.into())
    }
}

impl Filters {
    fn take(&mut self, word: &str) -> Result<(), Problem> {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let value = value.filter(|value| !value.is_empty());
        let needed = || value.ok_or("needs a value");
        let half_open = |text| strict(text).map(|Bounds { start, end }| HalfOpen { start, end });
        let inclusive = |text| narrow(bounds(text)?).map(|(min, max)| Inclusive { min, max });
        match name {
            "profiles" => self.profiles = Some(needed()?.split('|').map(profile_named).collect::<Result<_, _>>()?),
            "usage" => {
                let usage = match number(needed()?) {
                    Ok(bound) => Usage::Below(bound),
                    // What has no end ends where nothing can be fuller.
                    Err(_) => match inclusive(needed()?)? {
                        Inclusive { min, max: u32::MAX } => Usage::Within(Inclusive { min, max: 100 }),
                        range => Usage::Within(range),
                    },
                };
                match usage {
                    Usage::Below(0..=100) | Usage::Within(Inclusive { max: 0..=100, .. }) => self.usage = Some(usage),
                    _ => return Err("is more than 100 percent"),
                }
            }
            "devid" => self.devid = Some(number(needed()?).ok().filter(|devid| *devid > 0).ok_or("is no device id")?),
            "drange" => self.drange = Some(half_open(needed()?)?),
            "vrange" => self.vrange = Some(half_open(needed()?)?),
            "limit" => {
                self.limit = Some(match number(needed()?) {
                    Ok(max) => Limit { min: 0, max },
                    Err(_) => {
                        inclusive(needed()?).map(|range| Limit { min: range.min.into(), max: range.max.into() })?
                    }
                });
            }
            "stripes" => self.stripes = Some(inclusive(needed()?)?),
            "convert" => self.convert = Some(profile_named(needed()?)?),
            "soft" if value.is_none() => self.soft = true,
            "soft" => return Err("takes no value"),
            _ => {
                return Err(
                    "is no filter, which are usage, devid, drange, vrange, limit, stripes, profiles, convert and soft",
                );
            }
        }
        Ok(())
    }
}

impl fmt::Display for HalfOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

impl fmt::Display for Inclusive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.min, self.max)
    }
}

impl fmt::Display for Filters {
    /// As `from_str` takes them, in the kernel's order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |profile: &Profile| profile.name().to_ascii_lowercase();
        let mut words = Vec::new();
        words.extend(self.convert.iter().map(|profile| format!("convert={}", name(profile))));
        words.extend(self.soft.then(|| "soft".to_owned()));
        words.extend(self.profiles.iter().map(|profiles| {
            let names: Vec<String> = profiles.iter().map(name).collect();
            format!("profiles={}", names.join("|"))
        }));
        words.extend(self.usage.iter().map(|usage| match usage {
            Usage::Below(bound) => format!("usage={bound}"),
            Usage::Within(range) => format!("usage={range}"),
        }));
        words.extend(self.devid.iter().map(|devid| format!("devid={devid}")));
        words.extend(self.drange.iter().map(|range| format!("drange={range}")));
        words.extend(self.vrange.iter().map(|range| format!("vrange={range}")));
        words.extend(self.limit.iter().map(|limit| match limit {
            Limit { min: 0, max } => format!("limit={max}"),
            Limit { min, max } => format!("limit={min}..{max}"),
        }));
        words.extend(self.stripes.iter().map(|range| format!("stripes={range}")));
        f.write_str(&words.join(","))
    }
}
