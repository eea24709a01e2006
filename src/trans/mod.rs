//! Transactions: changes of an unmounted filesystem that become real together or not at all.

pub mod free_space_tree;
