//! Findings: what a check says of a filesystem, as data.

use std::fmt;

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing, and no damage.
    Note,
    /// Does no harm yet.
    Warning,
    /// Something is wrong.
    Error,
    /// The kernel would not mount the filesystem, or part of it cannot be reached.
    Fatal,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Fatal => "fatal",
        })
    }
}

/// What can be told of any finding. Its `Display` is the sentence for a person.
pub trait Finding: fmt::Display {
    /// The stable code of its kind.
    fn code(&self) -> &'static str;

    /// How bad it is.
    fn severity(&self) -> Severity;

    /// Whether it is more than a note, which is worth knowing and no damage.
    fn is_damage(&self) -> bool {
        self.severity() > Severity::Note
    }
}

/// A kind of finding, for the manual.
#[derive(Clone, Copy, Debug)]
pub struct ProblemKind {
    /// The stable code.
    pub code: &'static str,
    /// How bad findings of the kind are.
    pub severity: Severity,
    /// What it means, as a sentence.
    pub meaning: &'static str,
}

/// Declares an enum of findings. Each variant has its code, its severity, the sentence that is printed and the values
/// in it; its doc comment is its meaning in the manual. Values serialize under their names; `as` names the function that
/// makes what the sentence says of a value. The order of variants and values is the order in which findings are reported.
macro_rules! findings {
    ($(#[$doc:meta])* $name:ident {
        $(
            #[doc = $meaning:literal]
            $variant:ident($code:literal, $severity:ident, $message:literal) { $($field:ident: $type:ty $(as $shown:ident)?),* $(,)? }
        )*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error, serde::Serialize)]
        #[serde(untagged)]
        pub enum $name {
            $(
                #[doc = $meaning]
                #[doc = ""]
                #[doc = concat!(" The check prints `", $code, "`: ", $message)]
                #[error($message $($(, $field = $shown(.$field))?)*)]
                $variant {
                    $(
                        #[doc = concat!("`{", stringify!($field), "}` in the message.")]
                        $field: $type,
                    )*
                },
            )*
        }

        impl $name {
            /// All kinds, in the order of their declaration.
            pub const KINDS: &[$crate::finding::ProblemKind] = &[
                $($crate::finding::ProblemKind {
                    code: $code,
                    severity: $crate::finding::Severity::$severity,
                    meaning: $meaning.trim_ascii(),
                },)*
            ];

            /// The same, one after the other.
            pub fn kinds() -> impl Iterator<Item = &'static $crate::finding::ProblemKind> {
                Self::KINDS.iter()
            }
        }

        impl $crate::finding::Finding for $name {
            fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $code,)*
                }
            }

            fn severity(&self) -> $crate::finding::Severity {
                match self {
                    $(Self::$variant { .. } => $crate::finding::Severity::$severity,)*
                }
            }
        }
    };
}
pub(crate) use findings;

#[cfg(test)]
mod tests {
    use super::*;

    findings! {
        Example {
            /// The size is not what it should be.
            Size("example-size", Error, "block={block}, invalid size, have {have} expect {expect}") {
                block: u64, have: u32, expect: u32,
            }
        }
    }

    #[test]
    fn a_finding_carries_its_values_for_people_and_programs() {
        let finding = Example::Size { block: 4096, have: 5, expect: 160 };
        assert_eq!(finding.to_string(), "block=4096, invalid size, have 5 expect 160");
        assert_eq!((finding.code(), finding.severity()), ("example-size", Severity::Error));
        assert_eq!(
            serde_json::to_value(&finding).unwrap(),
            serde_json::json!({"block": 4096, "have": 5, "expect": 160})
        );
        assert_eq!(Example::kinds().next().unwrap().meaning, "The size is not what it should be.");
    }
}
