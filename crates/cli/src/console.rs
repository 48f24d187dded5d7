//! What people and scripts read: results on stdout as text or one JSON document, everything else on stderr.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::args::Global;
use crate::failure::Failure;

/// Where a command's results and remarks go.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    json: bool,
    quiet: bool,
    colour: bool,
}

/// A colour for a word on a terminal.
#[derive(Debug, Clone, Copy)]
pub enum Colour {
    /// All is well.
    Green,
    /// On its way, or waiting for somebody.
    Yellow,
    /// In trouble.
    Red,
}

/// False if the environment asks for plain text.
pub fn colour_is_welcome() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

impl Console {
    /// A console as the options and the environment ask for it.
    pub fn new(global: &Global) -> Console {
        let colour = io::stdout().is_terminal() && colour_is_welcome();
        Console { json: global.json, quiet: global.quiet, colour }
    }

    /// True if results are to be JSON.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// True if stdout is a terminal that may be cleared and coloured.
    pub fn is_live(self) -> bool {
        self.colour && !self.json
    }

    /// Writes the result: the document as JSON, or what `text` makes of it, which ends its own lines.
    ///
    /// # Errors
    /// When stdout cannot be written, or its reader is gone.
    pub fn result<T: Serialize>(self, document: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        if !self.json {
            return self.text(&text(document));
        }
        let json = serde_json::to_string_pretty(document).expect("documents have string keys alone");
        self.text(&(json + "\n"))
    }

    /// Writes text to stdout at once.
    ///
    /// # Errors
    /// When stdout cannot be written, or its reader is gone.
    pub fn text(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::output)
    }

    /// Says something beside the result, on stderr, unless quiet.
    pub fn remark(self, line: &str) {
        if !self.quiet {
            // A remark that nobody can read is none.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Suggests what to do next, to people at a terminal alone.
    pub fn hint(self, line: &str) {
        if !self.json && io::stderr().is_terminal() {
            self.remark(line);
        }
    }

    /// Writes over the last line of a terminal's stderr, for people alone; with an empty line it is cleared.
    pub fn progress(self, line: &str) {
        if !self.json && !self.quiet && io::stderr().is_terminal() {
            let mut stderr = io::stderr().lock();
            // A line that nobody can read is none.
            let _ = write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush());
        }
    }

    /// `text` in a colour, on a terminal.
    pub fn coloured(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Red => 31,
        };
        if self.is_live() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Rows in aligned columns, two spaces apart, a line each; the last column is not padded.
pub fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows);
    let widths: [usize; N] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    });
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_character() {
        let text = table(["NAME", "PATH"], [["ünï".into(), "/a".into()], ["longer".into(), "/b".into()]]);
        assert_eq!(text, "NAME    PATH\nünï     /a\nlonger  /b\n");
    }
}
