//! Chunks and devices that come and go.

mod chunk_commands;
mod chunk_engine;
mod device_changes;
mod parity_storm;
#[path = "../support/mod.rs"]
mod support;
mod surveyed;
