//! Times in the caller's time zone.

use std::fmt::Write;

use chrono::{Local, TimeZone};

use crate::disk::inode::Timespec;

use super::super::put::put;

/// Turns seconds since 1970 into local time, and remembers the last minute: most times of a tree are close together,
/// and looking up the time zone is slow.
#[derive(Default)]
pub struct Clock {
    minute: Option<i64>,
    text: String,
}

impl Clock {
    /// A line for each of the times, after its name.
    pub fn put_times(&mut self, times: &[(&str, Timespec)], out: &mut Vec<u8>) {
        for (name, time) in times {
            put!(out, "\t\t", *name, " ");
            self.put_timespec(time, out);
            out.push(b'\n');
        }
    }

    /// `SECONDS.NANOSECONDS (LOCAL TIME)`
    fn put_timespec(&mut self, time: &Timespec, out: &mut Vec<u8>) {
        put!(out, time.sec, ".", time.nsec, " (");
        self.put_seconds(time.sec.get(), out);
        put!(out, ")");
    }

    /// The local time as `YYYY-MM-DD HH:MM:SS`. Seconds are signed, as the kernel stores them.
    pub fn put_seconds(&mut self, seconds: u64, out: &mut Vec<u8>) {
        let seconds = seconds as i64;
        let (minute, second) = (seconds.div_euclid(60), seconds.rem_euclid(60) as u8);
        if self.minute != Some(minute) {
            self.minute = Some(minute);
            self.text.clear();
            // A time zone whose offset is no whole minute has to be asked for each second.
            match Local.timestamp_opt(seconds, 0).single() {
                Some(local) if local.offset().local_minus_utc() % 60 == 0 => {
                    let _ = write!(self.text, "{}", local.format("%Y-%m-%d %H:%M:"));
                }
                Some(local) => {
                    self.minute = None;
                    put!(out, local.format("%Y-%m-%d %H:%M:%S").to_string().as_str());
                    return;
                }
                None => {}
            }
        }
        if self.text.is_empty() {
            put!(out, "out of range");
            return;
        }
        put!(out, self.text.as_str());
        out.extend([b'0' + second / 10, b'0' + second % 10]);
    }
}
