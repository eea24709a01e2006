//! Chunks: how large they become and where they go, and the protocol by which they come and go.

pub mod array;
pub mod placement;
pub mod reservation;
