//! `.syncignore` files: gitignore rules, by directory.
//!
//! What a rule matches is frozen: neither looked at nor changed. The bytes of the files come from observations; their
//! meaning is the `ignore` crate's.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ::ignore::Match;
use ::ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::path::SyncPath;

/// All rules of a directory tree. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    files: Arc<BTreeMap<SyncPath, RuleFile>>,
}

#[derive(Clone, Debug)]
struct RuleFile {
    source: Vec<u8>,
    matcher: Gitignore,
}

impl Rules {
    /// Sets what the ignore file of `directory` says; none: there is no such file. True if that changed anything.
    ///
    /// A line that is no valid pattern is left out: it matches nothing.
    pub fn set(&mut self, directory: &SyncPath, source: Option<&[u8]>) -> bool {
        if self.files.get(directory).map(|file| file.source.as_slice()) == source {
            return false;
        }
        let files = Arc::make_mut(&mut self.files);
        match source {
            Some(source) => {
                files.insert(directory.clone(), RuleFile { source: source.to_vec(), matcher: parse(source) })
            }
            None => files.remove(directory),
        };
        true
    }

    /// True if the path, or a directory above it, is ignored. The deepest ignore file that has a word on it decides.
    pub fn is_ignored(&self, path: &SyncPath, is_directory: bool) -> bool {
        if self.files.is_empty() {
            return false;
        }
        let mut above: Vec<SyncPath> = path.ancestors().filter(|ancestor| !ancestor.is_root()).collect();
        above.reverse();
        above.iter().any(|ancestor| self.is_matched(ancestor, true)) || self.is_matched(path, is_directory)
    }

    fn is_matched(&self, path: &SyncPath, is_directory: bool) -> bool {
        for ancestor in path.ancestors() {
            let Some(file) = self.files.get(&ancestor) else { continue };
            let relative = if ancestor.is_root() {
                path.as_bytes()
            } else {
                &path.as_bytes()[ancestor.as_bytes().len() + 1..]
            };
            match file.matcher.matched(Path::new(OsStr::from_bytes(relative)), is_directory) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }
}

fn parse(source: &[u8]) -> Gitignore {
    let mut builder = GitignoreBuilder::new("");
    for line in String::from_utf8_lossy(source).lines() {
        // An invalid pattern is one that matches nothing; the file is the user's and synced as it is.
        let _ = builder.add_line(None, line);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l7_rules_have_gitignore_semantics() {
        let path = |text: &str| SyncPath::parse(text.as_bytes()).expect("a valid path");
        let mut rules = Rules::default();
        assert!(rules.set(&SyncPath::root(), Some(b"*.log\n/build/\n# comment\n!keep.log\n")));
        assert!(!rules.set(&SyncPath::root(), Some(b"*.log\n/build/\n# comment\n!keep.log\n")));
        rules.set(&path("sub"), Some(b"!x.log\n"));
        assert!(rules.is_ignored(&path("a.log"), false));
        assert!(rules.is_ignored(&path("d/a.log"), false));
        assert!(!rules.is_ignored(&path("keep.log"), false));
        assert!(!rules.is_ignored(&path("sub/x.log"), false));
        assert!(rules.is_ignored(&path("sub/y.log"), false));
        assert!(rules.is_ignored(&path("build"), true));
        assert!(!rules.is_ignored(&path("build"), false));
        assert!(rules.is_ignored(&path("build/x/y"), false));
        assert!(!rules.is_ignored(&path("sub/build"), true));
        assert!(rules.set(&SyncPath::root(), None));
        assert!(!rules.is_ignored(&path("a.log"), false));
    }

    fn check(source: &[u8], cases: &[(&str, bool)]) {
        let mut rules = Rules::default();
        rules.set(&SyncPath::root(), Some(source));
        for (text, is_ignored) in cases {
            let path = SyncPath::parse(text.trim_end_matches('/').as_bytes()).expect("a valid path");
            let source = String::from_utf8_lossy(source);
            assert_eq!(rules.is_ignored(&path, text.ends_with('/')), *is_ignored, "{source:?} {text}");
        }
    }

    #[test]
    fn l7_patterns_are_read_as_git_reads_them() {
        check(b"a", &[("a", true), ("a/", true), ("d/a", true), ("d/a/b", true), ("ab", false)]);
        check(b"/a", &[("a", true), ("d/a", false)]);
        check(b"d/a", &[("d/a", true), ("e/d/a", false)]);
        check(b"**/x/*.o", &[("x/a.o", true), ("d/x/a.o", true), ("d/a.o", false)]);
        check(b"a/**", &[("a/", false), ("a/b", true)]);
        check(b"\\#a\n\\!b\n#c", &[("#a", true), ("!b", true), ("#c", false), ("c", false)]);
        check(b"a?c\n[xy]z", &[("abc", true), ("a/c", false), ("xz", true), ("wz", false)]);
        check(b"a  \n", &[("a", true), ("a  ", false)]);
        check(b"", &[("a", false)]);
    }

    #[test]
    fn l7_nothing_below_an_ignored_directory_comes_back() {
        check(b"d/\n!d/keep\n", &[("d/", true), ("d/keep", true), ("d", false)]);
        check(b"d/*\n!d/keep\n", &[("d/", false), ("d/keep", false), ("d/other", true)]);
    }

    #[test]
    fn l7_what_is_no_pattern_matches_nothing_and_spoils_nothing() {
        check(b"[z-a]\n*.log\n", &[("a.log", true), ("[z-a]", false), ("a", false)]);
        check(b"*.log\r\nb\r\n", &[("a.log", true), ("b", true)]);
        check(b"\xff\xfe\n*.log", &[("a.log", true)]);
    }

    #[test]
    fn l7_the_deepest_file_that_has_a_word_on_a_path_decides() {
        let path = |text: &str| SyncPath::parse(text.as_bytes()).expect("a valid path");
        let mut rules = Rules::default();
        rules.set(&SyncPath::root(), Some(b"!a\nb\n"));
        rules.set(&path("d"), Some(b"a\n!b\n/c\n"));
        assert!(rules.is_ignored(&path("d/a"), false) && !rules.is_ignored(&path("a"), false));
        assert!(rules.is_ignored(&path("b"), false) && !rules.is_ignored(&path("d/b"), false));
        assert!(rules.is_ignored(&path("d/c"), false) && !rules.is_ignored(&path("d/e/c"), false));
        assert!(rules.set(&path("d"), None) && !rules.set(&path("d"), None));
        assert!(!rules.is_ignored(&path("d/a"), false) && rules.is_ignored(&path("d/b"), false));
    }
}
