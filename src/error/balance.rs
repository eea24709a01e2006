//! Why a filesystem is not balanced as it was asked for.

/// What keeps a balance from its beginning. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BalanceProblem {
    /// A filter makes no sense.
    #[error("{filter} {problem}")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it, as a phrase.
        problem: &'static str,
    },
    /// Data and metadata share block groups, and are to be balanced in different ways.
    #[error("data and metadata are in the same block groups: give both types, with the same filters")]
    Mixed,
    /// Metadata would survive less than now.
    #[error("{what} would have less redundancy as {to} than as {from}: --force does it all the same")]
    LessRedundancy {
        /// Metadata or system.
        what: &'static str,
        /// The name of the profile that there is.
        from: &'static str,
        /// The name of the profile that there would be.
        to: &'static str,
    },
    /// A balance of the kernel is paused or was interrupted.
    #[error(
        "a balance is paused or was interrupted: {balance}; rbtrfs balance --resume goes on with it, --cancel ends it"
    )]
    Paused {
        /// Its types and filters, as options.
        balance: String,
    },
    /// No balance is paused.
    #[error("no balance is paused or was interrupted")]
    NonePaused,
}
