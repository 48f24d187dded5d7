//! Ignore files: anybody who may change a directory may write one.

use file_sync_core::ignore::Rules;
use file_sync_core::path::SyncPath;

/// An ignore file, and after a NUL paths to ask about, with a NUL between them.
pub fn rules(bytes: &[u8]) -> bool {
    let mut parts = bytes.split(|byte| *byte == 0);
    let source = parts.next().unwrap_or_default();
    let mut rules = Rules::default();
    rules.set(&SyncPath::root(), Some(source));
    assert!(!rules.set(&SyncPath::root(), Some(source)), "the same again changes nothing");
    let mut is_any_ignored = false;
    for path in parts.take(8).filter_map(|part| SyncPath::parse(part).ok()) {
        is_any_ignored |= rules.is_ignored(&path, false);
        let is_ignored = rules.is_ignored(&path, true);
        assert_eq!(is_ignored, rules.is_ignored(&path, true));
        if let (true, Ok(below)) = (is_ignored, path.join(b"x")) {
            assert!(rules.is_ignored(&below, false), "{below} comes back below what is ignored");
        }
    }
    spoils_nothing(source);
    is_any_ignored
}

/// Whatever stands before it, a plain rule at the end holds.
fn spoils_nothing(source: &[u8]) {
    let mut rules = Rules::default();
    rules.set(&SyncPath::root(), Some(&[source, b"\n/plainly-ignored\n"].concat()));
    let path = SyncPath::parse(b"plainly-ignored").expect("a valid path");
    assert!(rules.is_ignored(&path, false), "a rule has no effect because of what stands before it");
}
