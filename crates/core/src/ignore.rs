//! `.syncignore` files: gitignore rules, by directory.
//!
//! What a rule matches is frozen: neither looked at nor changed. The bytes of the files come from observations; their
//! meaning is the `ignore` crate's, but for braces: git knows no alternatives.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
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

#[derive(Clone)]
struct RuleFile {
    source: Vec<u8>,
    /// One after another, the last line's first. None: there are more rules than can be dealt with, so that nobody can
    /// tell what is to stay here.
    matchers: Option<Vec<Gitignore>>,
}

/// Shows what the file says and not the matchers, which follow from it: the library's text of one names the thread that
/// asked it first, and the trace of a history is to follow from the history alone.
impl fmt::Debug for RuleFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.source))
    }
}

/// What the library needs for patterns with wildcards grows with their number times their length, to gigabytes for an
/// ignore file of 64 KiB. So they are divided into matchers of at most so many (patterns times bytes) each …
const MATCHER_WEIGHT_MAX: usize = 1 << 18;
/// … of which there are at most so many. That is enough for a thousand such patterns, and takes 100 MiB at the worst.
const MATCHERS_MAX: usize = 8;

impl Rules {
    /// Sets what the ignore file of `directory` says; none: there is no such file. True if that changed anything.
    ///
    /// A line that is no valid pattern is left out: it matches nothing. Where there are more patterns than can be dealt
    /// with, everything below the directory is ignored.
    pub fn set(&mut self, directory: &SyncPath, source: Option<&[u8]>) -> bool {
        if self.files.get(directory).map(|file| file.source.as_slice()) == source {
            return false;
        }
        let files = Arc::make_mut(&mut self.files);
        match source {
            Some(source) => {
                files.insert(directory.clone(), RuleFile { source: source.to_vec(), matchers: parse(source) })
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
            let Some(matchers) = &file.matchers else { return true };
            for matcher in matchers {
                match matcher.matched(Path::new(OsStr::from_bytes(relative)), is_directory) {
                    Match::Ignore(_) => return true,
                    Match::Whitelist(_) => return false,
                    Match::None => {}
                }
            }
        }
        false
    }
}

fn parse(source: &[u8]) -> Option<Vec<Gitignore>> {
    let mut matchers = Vec::new();
    let mut builder = GitignoreBuilder::new("");
    let (mut n_patterns, mut n_bytes) = (0, 0);
    for line in String::from_utf8_lossy(source).lines() {
        if has_wildcards(line) {
            (n_patterns, n_bytes) = (n_patterns + 1, n_bytes + line.len());
            if n_patterns * n_bytes > MATCHER_WEIGHT_MAX {
                matchers.push(std::mem::replace(&mut builder, GitignoreBuilder::new("")).build().ok()?);
                (n_patterns, n_bytes) = (1, line.len());
                if matchers.len() >= MATCHERS_MAX || n_bytes > MATCHER_WEIGHT_MAX {
                    return None;
                }
            }
        }
        // An invalid pattern is one that matches nothing; the file is the user's and synced as it is.
        let _ = builder.add_line(None, &with_plain_braces(line));
    }
    matchers.push(builder.build().ok()?);
    matchers.reverse();
    Some(matchers)
}

/// True but for plain names and `*.EXTENSION`, of which there may be as many as fit.
fn has_wildcards(line: &str) -> bool {
    let is_plain = |text: &str| !text.contains(['*', '?', '[']);
    !line.starts_with('#') && !is_plain(line) && !line.strip_prefix("*.").is_some_and(is_plain)
}

/// The line with its braces escaped. To git they are ordinary characters; the library would take them for alternatives,
/// which may be nested to any depth, and takes a stack as deep to read them.
fn with_plain_braces(line: &str) -> Cow<'_, str> {
    if !line.contains(['{', '}']) {
        return line.into();
    }
    let mut escaped = String::with_capacity(line.len() + 8);
    let mut rest = line;
    while let Some(character) = rest.chars().next() {
        let length = match character {
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '[' => class_bytes(rest),
            '{' | '}' => {
                escaped.push('\\');
                1
            }
            _ => character.len_utf8(),
        };
        let (taken, after) = rest.split_at(length);
        escaped.push_str(taken);
        rest = after;
    }
    escaped.into()
}

/// How long the class is that this text begins with, in bytes; 1, for the bracket alone, if it does not end.
fn class_bytes(text: &str) -> usize {
    let negation = usize::from(text[1..].starts_with(['!', '^']));
    // The first character belongs to the class even if it is a bracket.
    let first = text[1 + negation..].chars().next().map_or(0, char::len_utf8);
    let start = 1 + negation + first;
    text[start..].find(']').map_or(1, |at| start + at + 1)
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

    #[test]
    fn what_rules_look_like_says_nothing_of_the_thread_that_asked_them() {
        let shown = || {
            let mut rules = Rules::default();
            rules.set(&SyncPath::root(), Some(b"*.log\n"));
            assert!(rules.is_ignored(&SyncPath::parse(b"a.log").expect("a valid path"), false));
            format!("{rules:?}")
        };
        assert_eq!(std::thread::spawn(shown).join().expect("no panic"), shown());
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
    fn l7_braces_are_ordinary_characters_as_to_git() {
        check(b"{a,b}\n", &[("{a,b}", true), ("a", false), ("b", false)]);
        check(b"a{b\n*.{c}\n", &[("a{b", true), ("x.{c}", true), ("x.c", false)]);
        check(b"\\{a\n\\\\{b\n", &[("{a", true), ("\\{b", true)]);
        check(b"[{x]y\n[!{]z\n", &[("{y", true), ("xy", true), ("\\y", false), ("{z", false), ("az", true)]);
        check(b"[]{]q\n[{\n", &[("]q", true), ("{q", true), ("[{", true), ("{", false)]);
        check("\\\u{e9}{\n".as_bytes(), &[("\u{e9}{", true)]);
    }

    #[test]
    fn h3_rules_that_are_nested_without_end_are_read_on_a_small_stack() {
        let nested = ["{".repeat(1 << 15), "}".repeat(1 << 15)].concat();
        let source = [nested.as_str(), "*.log"].join("\n");
        let read = move || check(source.as_bytes(), &[("a.log", true), ("a", false)]);
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        thread.spawn(read).expect("started").join().expect("no panic");
    }

    #[test]
    fn l7_a_later_rule_decides_however_many_stand_before() {
        let many: String = (0..600).map(|n| format!("a*{n}?b\n")).collect();
        let source = ["*.log\n!keep*me\n", &many, "!*.log\nkeep*me\n"].concat();
        check(source.as_bytes(), &[("x.log", false), ("keep-me", true), ("a17xb", true), ("a599-b", true)]);
        let rules = parse(source.as_bytes()).expect("not too many");
        assert!(rules.len() > 1, "they need more than one matcher");
    }

    #[test]
    fn l7_more_rules_than_can_be_dealt_with_freeze_everything_below() {
        let source = b"?".repeat(1 << 20);
        let mut rules = Rules::default();
        let path = |text: &str| SyncPath::parse(text.as_bytes()).expect("a valid path");
        rules.set(&path("d"), Some(&source));
        assert!(rules.is_ignored(&path("d/a"), false) && rules.is_ignored(&path("d/e/a"), false));
        assert!(!rules.is_ignored(&path("a"), false) && !rules.is_ignored(&path("d"), true));
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
