//! Repair: what a survey knows of a damaged filesystem becomes a plan of fixes, which are staged, checked again, and published
//! only if they made things better.

pub mod flip;
pub mod older;
