//! The command line: one table of commands feeds the multiplexer, the man pages and the completions.

mod change;
mod check;
mod chunk_alloc;
mod chunk_remove;
mod command;
mod completions;
mod dump_super;
mod dump_tree;
mod exit;
mod fsck;
mod interrupt;
mod list_chunks;
mod man;
mod mkfs;
mod open;
mod output;
mod profile;
mod qgroups;
mod repair;
mod run;
mod size;
mod table;
mod undo;
mod watch;

pub use command::Command;
pub use exit::Exit;
pub use run::{main, main_of};
pub use table::COMMANDS;
