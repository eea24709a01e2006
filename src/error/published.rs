//! What is said of a new state that only some devices have.

use std::fmt;

use super::PartlyPublished;

impl PartlyPublished {
    /// Whether the new state is on the disk of some device for sure.
    pub fn is_sure(&self) -> bool {
        !self.reached.is_empty()
    }
}

impl fmt::Display for PartlyPublished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reached.len() {
            0 => f.write_str("the change may be on the disk, no device has it for sure")?,
            reached => {
                write!(f, "the change is on the disk of {reached} of {} devices, then this failed", self.devices)?
            }
        }
        for (number, failure) in self.failures.iter().enumerate() {
            write!(f, "{} {failure}", if number == 0 { ':' } else { ';' })?;
        }
        Ok(())
    }
}
