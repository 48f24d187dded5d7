//! A history in lines, for people.

use crate::world::World;

impl World {
    /// Notes a line, if a trace is wanted.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if self.options.is_traced {
            self.trace.push(format!("{:>10.3} {}", self.now_us as f64 / 1e3, line()));
        }
    }
}

/// An event or effect without what seldom matters.
pub(crate) fn short(item: &impl std::fmt::Debug) -> String {
    let mut text = format!("{item:?}");
    while let Some(start) = text.find("Stat { device: 1, inode: ") {
        let inode = start + "Stat { device: 1, inode: ".len();
        let Some(inode_end) = text[inode..].find(',').map(|at| inode + at) else { break };
        let Some(end) = text[inode..].find("} }").map(|at| inode + at + 3) else { break };
        let number = text[inode..inode_end].to_owned();
        text.replace_range(start..end, &format!("#{number}"));
    }
    for noise in ["File { content: ", "Record { content: ", ", signature: signed", ", truth: ()"] {
        text = text.replace(noise, "");
    }
    match text.char_indices().nth(2_000) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
