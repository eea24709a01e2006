//! The evidence that a repair goes by: flipped bits, and blocks that no tree leads to.

mod flips;
mod hostile;
mod older;
