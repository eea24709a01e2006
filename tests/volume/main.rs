//! Reading and writing of volumes: devices, copies, parity, superblocks, and damage to all of them.

mod bombs;
mod hostile;
mod lost_array;
mod mapped;
mod parity_rows;
mod publishing;
mod reading;
mod small_image;
mod stale_devices;
#[path = "../support/mod.rs"]
mod support;
mod writing;
