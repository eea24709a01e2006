//! What contradicts the item of an extent.

use crate::disk::reference::Reference;

/// Why an extent cannot be described, moved or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtentProblem {
    /// The extent tree does not have it.
    #[error("has no item")]
    NoItem,
    /// The item ends before what it says is in it.
    #[error("has an item that is too short")]
    TooShort,
    /// The item is not of its form.
    #[error("has an item that makes no sense")]
    BadItem,
    /// The item is that of a tree block of another level.
    #[error("is of another level")]
    Level,
    /// The item has flags that go with something else.
    #[error("has the flags of another kind")]
    Flags,
    /// A reference in the item is of no known type, or cut short.
    #[error("has an inline reference that makes no sense")]
    InlineRef,
    /// A reference in the item does not go with what it is in.
    #[error("has an inline reference that is out of place")]
    InlineRefPlace,
    /// The references in the item do not ascend.
    #[error("has inline references out of order")]
    InlineRefOrder,
    /// The count of references is less than what stands in the item, or zero.
    #[error("has fewer references than are listed")]
    RefCount,
    /// After a change there would be references that are not counted, or are counted and nowhere.
    #[error("does not count the references that are listed")]
    Unlisted,
    /// More would refer to it than a number holds.
    #[error("has more references than can be counted")]
    Uncountable,
    /// More give it up than refer to it.
    #[error("has fewer references than trees that give it up")]
    TooFewRefs,
    /// A reference goes more often than it is there.
    #[error("has too few references of {of}")]
    TooFewOf {
        /// The reference.
        of: Reference,
    },
    /// A reference goes that is not there.
    #[error("has no reference of {of}")]
    NoneOf {
        /// The reference.
        of: Reference,
    },
    /// A reference comes more often than it may be there.
    #[error("has too many references of {of}")]
    TooManyOf {
        /// The reference.
        of: Reference,
    },
    /// The item where a reference would stand is not of its form.
    #[error("has a malformed item of {of}")]
    BadItemOf {
        /// The reference.
        of: Reference,
    },
    /// All keys are taken that a reference may have.
    #[error("has no key left for a reference of {of}")]
    NoKeyOf {
        /// The reference.
        of: Reference,
    },
    /// One refers to a tree block and another to data, or to a block of another level or generation.
    #[error("is referred to as what it is not")]
    Mistaken,
    /// Nothing refers to it.
    #[error("has no reference")]
    NoReference,
    /// The transaction has made a tree block where another one is in use.
    #[error("is in use, and the extent tree does not know")]
    NotNoted,
    /// The tree block is that of another tree, and is not shared with it.
    #[error("belongs to another tree")]
    OtherTree,
    /// Of a tree that is dropped a block is shared that is not dropped as a whole.
    #[error("is shared, and a part of it is dropped")]
    PartlyDropped,
    /// What a block of a relocation tree refers to does not have it as its parent.
    #[error("is the relocation tree's alone, and refers to others by the name of a tree")]
    NoFullBackref,
    /// Another extent has a part of it.
    #[error("overlaps another")]
    Overlaps,
    /// No chunk has all of it.
    #[error("does not lie within one chunk")]
    OutsideChunk,
    /// Its length is more than there are addresses.
    #[error("reaches past the last address")]
    NoEnd,
    /// References do not agree on its length, its generation or what it is.
    #[error("is described in two ways")]
    TwoWays,
    /// References do not agree on its owner.
    #[error("has two owners")]
    TwoOwners,
}
