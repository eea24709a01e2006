//! Colours, on terminals or where they are asked for.

use std::fmt::{self, Display};
use std::io;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

use crate::files::FileKind;
use crate::finding::Severity;

pub const HEADING: Style = Style::new().bold();
pub const FAINT: Style = Style::new().dimmed();
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
pub const COMMAND: Style = AnsiColor::Cyan.on_default();

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl When {
    /// Decides it for all that is printed from here on, that of the parser included.
    pub fn decide(self) {
        match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        }
        .write_global();
    }
}

/// The style of a severity.
pub fn of_severity(severity: Severity) -> Style {
    match severity {
        Severity::Fatal => AnsiColor::Magenta.on_default().bold(),
        Severity::Error => ERROR,
        Severity::Warning => WARNING,
        Severity::Note => FAINT,
    }
}

/// The style of a kind of file, as ls(1) has it.
pub fn of_file(kind: FileKind) -> Style {
    match kind {
        FileKind::Directory => AnsiColor::Blue.on_default().bold(),
        FileKind::Symlink => AnsiColor::Cyan.on_default().bold(),
        FileKind::CharDevice | FileKind::BlockDevice => AnsiColor::Yellow.on_default().bold(),
        FileKind::Fifo => AnsiColor::Yellow.on_default(),
        FileKind::Socket => AnsiColor::Magenta.on_default().bold(),
        FileKind::Unknown => ERROR,
        FileKind::File => Style::new(),
    }
}

/// Whether a stream has colours.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    has_colors: bool,
}

impl Palette {
    fn of(stream: &impl RawStream) -> Self {
        Self { has_colors: AutoStream::choice(stream) != ColorChoice::Never }
    }

    #[cfg(test)]
    pub fn without_colors() -> Self {
        Self { has_colors: false }
    }

    pub fn of_stdout() -> Self {
        Self::of(&io::stdout())
    }

    pub fn of_stderr() -> Self {
        Self::of(&io::stderr())
    }

    /// The style, or none where there are no colours.
    pub fn style(self, style: Style) -> Style {
        if self.has_colors { style } else { Style::new() }
    }

    /// The text in a style, if there are colours.
    pub fn paint<T: Display>(self, style: Style, text: T) -> Painted<T> {
        Painted { style: self.style(style), text }
    }
}

/// A text in a style. Its width is that of the text.
pub struct Painted<T> {
    style: Style,
    text: T,
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.style)?;
        self.text.fmt(f)?;
        write!(f, "{:#}", self.style)
    }
}
