//! Paths: what parses names something below a root, and stays so whatever is done with it.

use file_sync_core::path::{NAME_BYTES_MAX, PATH_BYTES_MAX, RESERVED_NAME, SyncPath};

/// Paths with a NUL between them, which none can hold.
pub fn path(bytes: &[u8]) -> bool {
    let paths: Vec<SyncPath> =
        bytes.split(|byte| *byte == 0).take(8).filter_map(|part| SyncPath::parse(part).ok()).collect();
    for path in &paths {
        alone(path);
        paths.iter().for_each(|other| together(path, other));
    }
    !paths.is_empty()
}

fn alone(path: &SyncPath) {
    let names: Vec<&[u8]> = path.components().collect();
    assert_eq!(names.join(&b'/'), path.as_bytes());
    assert!(path.as_bytes().len() <= PATH_BYTES_MAX);
    for name in &names {
        assert!(!name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(&0));
        assert!(![b".".as_slice(), b"..", RESERVED_NAME].contains(name), "{path} leads out of its root");
    }
    assert_eq!(names.len(), path.depth());
    assert_eq!(names.last().copied(), Some(path.name()));
    let parent = path.parent().expect("it is not the root");
    assert_eq!(parent.join(path.name()).as_ref(), Ok(path));
    assert!(parent.is_ancestor_of(path) && parent < *path);
    assert!(path.ancestors().all(|above| above.is_ancestor_of(path)));
    assert!(!path.to_string().chars().any(char::is_control), "shown as it is: {path:?}");
}

fn together(one: &SyncPath, other: &SyncPath) {
    let components = |path: &SyncPath| path.components().map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!(one.cmp(other), components(one).cmp(&components(other)), "{one} and {other}");
    if let Some(child) = one.child_towards(other) {
        assert!(one.is_ancestor_of(other) && child.parent().as_ref() == Some(one));
        let moved = one.rebase(other, one).expect("it was as long before");
        assert_eq!(moved, *other);
    }
    // Whatever is moved below another stays a path.
    for above in other.ancestors() {
        if let Some(moved) = above.rebase(other, one) {
            assert_eq!(SyncPath::parse(moved.as_bytes()), Ok(moved));
        }
    }
}
