//! The names of conflict copies.
//!
//! A name is a function of the path, the losing version and the names already taken, so that every member that knows
//! the same versions shows the same copies.

use crate::path::{NAME_BYTES_MAX, PATH_BYTES_MAX, SyncPath};
use crate::version::{ContentHash, DeviceId, Time, Version};

const STAMP: &str = ".sync-conflict-";
/// What a shortened copy's name carries: `~` and 16 digits.
const MARK_BYTES: usize = 17;
/// First and last second of the years 0000 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// The path that shows `version` when it lost `path`: `NAME.sync-conflict-YYYYMMDD-HHMMSS-DEVICE.EXT`.
///
/// `distinguish` adds `-` and 8 digits of the content hash to DEVICE, for where two would share a name. A NAME that would
/// make the whole longer than 255 bytes is cut at a character boundary; that of a copy then also ends in `~` and 16 digits
/// of its path's hash.
pub fn copy_path(path: &SyncPath, version: &Version, distinguish: bool) -> SyncPath {
    stamped(path, version.rank, version.value.content().hash(), version.dot.actor.device, distinguish)
}

fn stamped(
    path: &SyncPath,
    time: Time,
    content: ContentHash,
    device: DeviceId,
    distinguish: bool,
) -> SyncPath {
    let mut stamp = format!("{STAMP}{}-{}", timestamp(time), device.short());
    if distinguish {
        stamp.push('-');
        stamp.push_str(&content.to_string()[..8]);
    }
    let (stem, extension) = split_extension(path.name(), NAME_BYTES_MAX - stamp.len());
    let room = NAME_BYTES_MAX - stamp.len() - extension.len();
    let name = [&shorten(path, stem, room), stamp.as_bytes(), extension].concat();
    let parent = path.parent().unwrap_or_else(SyncPath::root);
    // Only a path that is itself near the length limit can fail here; its copy then stands at the top of the tree.
    parent.join(&name).or_else(|_| SyncPath::parse(&name)).expect("a name of at most 255 valid bytes")
}

/// The path at which bytes of `path` are put that turned up without a version, as a copy of a conflict would be: those
/// that were written late into a displaced file.
pub fn late_copy_path(
    path: &SyncPath,
    written: Time,
    content: ContentHash,
    device: DeviceId,
    distinguish: bool,
) -> SyncPath {
    stamped(path, written, content, device, distinguish)
}

/// True if a value of `path` may be shown at `copy`: a sibling that carries a stamp, where `path` has none, or that is
/// either longer or holds the hash of `path`, as [`copy_path`] makes them.
///
/// What remotes say was settled is shown only there, so that no path is, through whatever others, its own copy.
pub fn is_copy_of(copy: &SyncPath, path: &SyncPath) -> bool {
    let mark = || mark(path).into_bytes();
    has_stamp(copy)
        && (!has_stamp(path) || copy.name().len() > path.name().len() || contains(copy.name(), &mark()))
        && is_beside(copy, path)
}

/// True if a version written at `born_at` may have become a conflict copy's own at `copy`, also by way of other copies.
pub fn may_have_landed(copy: &SyncPath, born_at: &SyncPath) -> bool {
    copy != born_at && has_stamp(copy) && is_beside(copy, born_at)
}

/// The paths of which something may have been shown at `copy`, nearest first: its name without one or more stamps.
///
/// Names that were cut tell nothing and have none.
pub fn origins(copy: &SyncPath) -> Vec<SyncPath> {
    if !has_stamp(copy) {
        return Vec::new();
    }
    let parent = copy.parent().unwrap_or_else(SyncPath::root);
    let mut names = Vec::new();
    let mut name = copy.name().to_vec();
    while let Some(start) = name.windows(STAMP.len()).rposition(|window| window == STAMP.as_bytes()) {
        let Some(stamp_bytes) = stamp_bytes(&name[start..]) else { break };
        name.drain(start..start + stamp_bytes);
        names.extend(parent.join(&name));
    }
    names
}

/// The length of the stamp that `text` begins with, its device and distinguishing digits included.
fn stamp_bytes(text: &[u8]) -> Option<usize> {
    let is_hex = |bytes: &[u8]| bytes.iter().all(|byte| byte.is_ascii_hexdigit());
    let device = STAMP.len() + "YYYYMMDD-HHMMSS-".len();
    let end = device + 7;
    text.get(device..end).filter(|digits| is_hex(digits))?;
    let is_distinguished = text.get(end) == Some(&b'-') && text.get(end + 1..end + 9).is_some_and(is_hex);
    Some(if is_distinguished { end + 9 } else { end })
}

/// True where copies of a path stand.
fn is_beside(copy: &SyncPath, path: &SyncPath) -> bool {
    copy.parent() == path.parent() || (copy.depth() == 1 && is_near_limit(path))
}

fn is_near_limit(path: &SyncPath) -> bool {
    path.as_bytes().len() + NAME_BYTES_MAX > PATH_BYTES_MAX
}

/// True for a name that a copy may have; that of every copy carries a stamp, however much else was cut.
pub(crate) fn has_stamp(path: &SyncPath) -> bool {
    contains(path.name(), STAMP.as_bytes())
}

fn contains(name: &[u8], part: &[u8]) -> bool {
    name.windows(part.len()).any(|window| window == part)
}

/// NAME and `.EXT`: at the last dot that is not the first byte. A stamp is no extension, nor is one that leaves no room.
fn split_extension(name: &[u8], room: usize) -> (&[u8], &[u8]) {
    match name.iter().rposition(|byte| *byte == b'.') {
        Some(dot) if name[dot..].starts_with(STAMP.as_bytes()) => (name, b""),
        Some(dot) if dot > 0 && name.len() - dot + MARK_BYTES < room => name.split_at(dot),
        _ => (name, b""),
    }
}

/// Cuts a stem to the room there is. That of a copy is marked with a hash of its path, so that no two paths can each be
/// the other's copy: names get a stamp, grow, or hold the hash of the name they came from.
fn shorten(path: &SyncPath, stem: &[u8], room: usize) -> Vec<u8> {
    if stem.len() <= room {
        return stem.to_vec();
    }
    if !has_stamp(path) {
        return cut(stem, room).to_vec();
    }
    [cut(stem, room.saturating_sub(MARK_BYTES)), mark(path).as_bytes()].concat()
}

fn mark(path: &SyncPath) -> String {
    format!("~{}", &ContentHash::of(path.as_bytes()).to_string()[..16])
}

fn cut(name: &[u8], room: usize) -> &[u8] {
    if name.len() <= room {
        return name;
    }
    let is_inside_character = |end: usize| name[end] & 0b1100_0000 == 0b1000_0000;
    let end = (room.saturating_sub(3)..=room).rev().find(|end| !is_inside_character(*end)).unwrap_or(room);
    &name[..end]
}

fn timestamp(rank: Time) -> String {
    let seconds = rank.seconds.clamp(*SECONDS.start(), *SECONDS.end());
    let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
    let moment = epoch.saturating_add(jiff::SignedDuration::from_secs(seconds));
    format!(
        "{:04}{:02}{:02}-{:02}{:02}{:02}",
        moment.year(),
        moment.month(),
        moment.day(),
        moment.hour(),
        moment.minute(),
        moment.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::*;

    fn version(seconds: i64) -> Version {
        Version {
            dot: Dot { actor: Actor { device: DeviceId([0xab; 32]), epoch: 1 }, counter: 1 },
            value: Value::File {
                content: ContentHash([0xcd; 32]),
                length: 1,
                mode: 0o644,
                mtime: Time::default(),
            },
            rank: Time { seconds, nanoseconds: 0 },
            replaced: vec![],
            heard: None,
            base: Content::Absent,
            changed: Changed::ALL,
            born_at: None,
            signature: Signature(None),
        }
    }

    fn check(path: &str, seconds: i64, expected: &str) {
        let path = SyncPath::parse(path.as_bytes()).expect("a valid path");
        assert_eq!(copy_path(&path, &version(seconds), false).to_string(), expected);
    }

    #[test]
    fn w1_copies_are_named_as_documented() {
        check("a.txt", 0, "a.sync-conflict-19700101-000000-abababa.txt");
        check("d/a.tar.gz", 1_700_000_000, "d/a.tar.sync-conflict-20231114-221320-abababa.gz");
        check("Makefile", 0, "Makefile.sync-conflict-19700101-000000-abababa");
        check(".bashrc", 0, ".bashrc.sync-conflict-19700101-000000-abababa");
        check("a", i64::MAX, "a.sync-conflict-99991231-235959-abababa");
        check("a", i64::MIN, "a.sync-conflict-00000101-000000-abababa");
    }

    #[test]
    fn w1_long_names_are_cut_between_characters() {
        for name in [
            "\u{1f980}".repeat(63),
            "x".repeat(255),
            "\u{fc}".repeat(120) + ".jpeg",
            "x.".to_owned() + &"y".repeat(250),
        ] {
            let path = SyncPath::parse(name.as_bytes()).expect("a valid path");
            for distinguish in [false, true] {
                let copy = copy_path(&path, &version(0), distinguish);
                assert!(copy.name().len() <= 255);
                assert!(std::str::from_utf8(copy.as_bytes()).is_ok(), "{copy}");
                assert_eq!(name.ends_with(".jpeg"), copy.as_bytes().ends_with(b".jpeg"));
            }
        }
    }

    #[test]
    fn w1_only_as_much_of_a_name_is_cut_as_has_to_be() {
        const STAMPED: &str = ".sync-conflict-19700101-000000-abababa";
        let room = 255 - STAMPED.len();
        check(&"x".repeat(255), 0, &("x".repeat(room) + STAMPED));
        check(&("x".repeat(251) + ".txt"), 0, &("x".repeat(room - 4) + STAMPED + ".txt"));
        // A copy of a copy that has to be cut is told from the copy itself.
        let copy = SyncPath::parse(("x".repeat(room) + STAMPED).as_bytes()).expect("a valid path");
        let second = copy_path(&copy, &version(0), false);
        assert!(second != copy && is_copy_of(&second, &copy) && !is_copy_of(&copy, &second), "{second}");
        assert!(is_copy_of(&copy, &SyncPath::parse("x".repeat(255).as_bytes()).expect("a valid path")));
    }

    #[test]
    fn w1_the_extension_is_what_follows_the_last_dot_but_no_stamp() {
        const STAMPED: &str = ".sync-conflict-19700101-000000-abababa";
        check(".a.b", 0, &format!(".a{STAMPED}.b"));
        check("a..b", 0, &format!("a.{STAMPED}.b"));
        check("a.", 0, &format!("a{STAMPED}."));
        check("..a", 0, &format!(".{STAMPED}.a"));
        check("d.d/a", 0, &format!("d.d/a{STAMPED}"));
        // Copies of copies: with an extension and without one.
        check(&format!("a{STAMPED}.txt"), 0, &format!("a{STAMPED}{STAMPED}.txt"));
        check(&format!("a{STAMPED}"), 0, &format!("a{STAMPED}{STAMPED}"));
    }

    #[test]
    fn w1_where_two_would_share_a_name_the_hash_tells_them_apart() {
        let path = SyncPath::parse(b"d/a.txt").expect("a valid path");
        let copy = copy_path(&path, &version(0), true);
        assert_eq!(copy.to_string(), "d/a.sync-conflict-19700101-000000-abababa-cdcdcdcd.txt");
    }

    #[test]
    fn w1_times_beyond_four_digits_of_a_year_are_held_at_the_ends() {
        let (first, last) = (*SECONDS.start(), *SECONDS.end());
        for (seconds, stamp) in [
            (first - 1, "00000101-000000"),
            (first, "00000101-000000"),
            (first + 1, "00000101-000001"),
            (-1, "19691231-235959"),
            (951_782_400, "20000229-000000"),
            (last - 1, "99991231-235958"),
            (last, "99991231-235959"),
            (last + 1, "99991231-235959"),
        ] {
            check("a", seconds, &format!("a.sync-conflict-{stamp}-abababa"));
        }
    }

    #[test]
    fn w1_a_name_is_cut_only_if_it_must_be_and_between_characters() {
        let stamp_bytes = ".sync-conflict-19700101-000000-abababa".len();
        let fits = "x".repeat(255 - stamp_bytes);
        check(&fits, 0, &format!("{fits}.sync-conflict-19700101-000000-abababa"));
        let path = SyncPath::parse(format!("d/{fits}x").as_bytes()).expect("a valid path");
        let copy = copy_path(&path, &version(0), false).to_string();
        assert_eq!(copy, format!("d/{fits}.sync-conflict-19700101-000000-abababa"));
        // One character of four bytes lies across the cut: it goes as a whole.
        for n_bytes in 0..4 {
            let name = "x".repeat(fits.len() - n_bytes) + &"\u{1f980}".repeat(9);
            let path = SyncPath::parse(name.as_bytes()).expect("a valid path");
            let copy = copy_path(&path, &version(0), false).to_string();
            let stem = copy.split(".sync").next().unwrap_or_default();
            assert!(name.starts_with(stem) && stem.len() > fits.len() - 4 && stem.len() <= fits.len());
        }
    }

    #[test]
    fn h3_names_that_are_no_text_are_cut_all_the_same() {
        for byte in [0x80, 0xbf, 0xff] {
            let path = SyncPath::parse(&[byte; 255]).expect("a valid path");
            let copy = copy_path(&path, &version(0), true);
            assert!(copy.name().len() <= 255 && is_copy_of(&copy, &path));
        }
    }

    #[test]
    fn l4_a_copy_is_known_by_its_name_and_leads_back() {
        let deep = "d/".repeat(PATH_BYTES_MAX / 2 - 1) + "f";
        for name in ["a.txt", "Makefile", ".bashrc", "d/e/a.tar.gz", "d/\u{fc}", "x.sync-conflict-", &deep] {
            let path = SyncPath::parse(name.as_bytes()).expect("a valid path");
            for distinguish in [false, true] {
                let copy = copy_path(&path, &version(7), distinguish);
                let again = copy_path(&copy, &version(8), distinguish);
                assert!(is_copy_of(&copy, &path) && !is_copy_of(&path, &copy), "{copy}");
                assert!(is_copy_of(&again, &copy) && !is_copy_of(&again, &again), "{again}");
                if name == deep {
                    assert_eq!(copy.depth(), 1, "there is no room beside it");
                } else {
                    assert_eq!(origins(&copy), std::slice::from_ref(&path));
                    assert_eq!(origins(&again), [copy, path.clone()]);
                }
            }
        }
        let path = SyncPath::parse(b"a.txt").expect("a valid path");
        assert!(origins(&path).is_empty());
    }
}
