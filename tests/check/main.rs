//! What a check finds, and what it must not say.

mod blocks;
mod cases;
mod command;
mod crash_images;
mod data;
mod extents;
mod fields;
mod files;
mod item_damage;
mod mutations;
mod quotas;
mod structure;
#[path = "../support/mod.rs"]
mod support;
mod survey;
mod told;
