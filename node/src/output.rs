//! Where things are written: results on standard output, everything else on standard error.
//!
//! With `--json` standard output carries one object a line and nothing else. On a terminal
//! progress is one line that is drawn again; elsewhere it is a plain line now and then.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::report::Line;

/// How often progress is told where nothing can be drawn.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// How a command talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    json: bool,
}

impl Output {
    /// Lines of JSON, or text.
    pub fn new(json: bool) -> Output {
        Output { json }
    }

    /// Whether `--json` was given.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether progress can be drawn.
    pub fn is_live(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// A result: an object with `--json`, else the text.
    pub fn result(&self, object: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json { self.object(object) } else { say(io::stdout(), &text()) }
    }

    /// An object, with `--json`; nothing else otherwise.
    pub fn object(&self, object: &impl Serialize) {
        if !self.json {
            return;
        }
        match serde_json::to_string(object) {
            Ok(text) => say(io::stdout(), &text),
            Err(error) => say(io::stderr(), &format!("this cannot be written as JSON: {error}")),
        }
    }

    /// A result's text; nothing with `--json`.
    pub fn text(&self, text: &str) {
        if !self.json {
            say(io::stdout(), text);
        }
    }

    /// Text for a person beside the result.
    pub fn note(&self, text: &str) {
        say(io::stderr(), text);
    }

    /// A node's line: an object, or what a person is told of it.
    pub fn line(&self, line: &Line, progress: &Progress) {
        if self.json {
            return self.object(line);
        }
        if let Some(text) = line.report.text() {
            progress.above(&text);
        }
    }
}

/// Whoever reads may be gone: that ends nothing here.
fn say(mut to: impl Write, text: &str) {
    let _ = writeln!(to, "{text}").and_then(|()| to.flush());
}

/// A line of progress.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    told: Option<Instant>,
    begun: Instant,
    plain: bool,
}

impl Progress {
    /// Progress towards `total`, if that is known.
    pub fn new(output: Output, total: Option<u64>) -> Progress {
        let style = match total {
            Some(_) => "{bar:30} {percent:>3}%  {msg}  {eta} left",
            None => "{spinner}  {elapsed}  {msg}",
        };
        let bar = output.is_live().then(|| {
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            bar.set_style(
                ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        Progress { bar, told: None, begun: Instant::now(), plain: !output.is_json() }
    }

    /// Progress that nobody is shown.
    pub fn hidden() -> Progress {
        Progress { bar: None, told: None, begun: Instant::now(), plain: false }
    }

    /// Where it stands.
    pub fn set(&mut self, position: u64, total: Option<u64>, message: String) {
        if let Some(bar) = &self.bar {
            if let Some(total) = total {
                bar.set_length(total);
            }
            bar.set_position(position);
            bar.set_message(message);
            return;
        }
        if !self.plain || self.told.is_some_and(|told| told.elapsed() < PLAIN_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        let left = total.and_then(|total| left(self.begun.elapsed(), position, total));
        let left = left.map_or(String::new(), |left| format!(", {} left", duration(left)));
        say(io::stderr(), &format!("{message}{left}"));
    }

    /// A line above the progress.
    pub fn above(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(io::stdout(), text)),
            None => say(io::stdout(), text),
        }
    }

    /// No progress any more.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn left(elapsed: Duration, position: u64, total: u64) -> Option<Duration> {
    let share = position as f64 / total as f64;
    (share > 0.0 && share <= 1.0).then(|| elapsed.mul_f64((1.0 - share) / share))
}

/// A duration as a person says it.
pub fn duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A number of bytes as a person says it.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ if value < 9.995 => format!("{value:.2} {}", UNITS[unit]),
        _ if value < 99.95 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [0, 999, 1000, 12_345, 999_499, 999_500, 250_000_000, 3_400_000_000_000].map(bytes);
        let expected = ["0 B", "999 B", "1.00 kB", "12.3 kB", "999 kB", "1.00 MB", "250 MB", "3.40 TB"];
        assert_eq!(texts, expected);
        let texts = [0, 61, 3_700].map(|seconds| duration(Duration::from_secs(seconds)));
        assert_eq!(texts, ["0 s", "1 min 01 s", "1 h 01 min"]);
        assert_eq!(left(Duration::from_secs(10), 1, 4), Some(Duration::from_secs(30)));
        assert_eq!(left(Duration::from_secs(10), 0, 4), None);
    }
}
