pub mod content;
pub mod source;
