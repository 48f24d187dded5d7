//! The names of conflict copies.
//!
//! A name is a function of the path, the losing version and the names already taken, so that every member that knows
//! the same versions shows the same copies.

use crate::path::{NAME_BYTES_MAX, SyncPath};
use crate::version::{ContentHash, Time, Version};

const STAMP: &str = ".sync-conflict-";
/// What a shortened copy's name carries: `~` and 16 digits.
const MARK_BYTES: usize = 17;
/// First and last second of the years 0000 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// The path that shows `version` when it lost `path`: `NAME.sync-conflict-YYYYMMDD-HHMMSS-DEVICE.EXT`.
///
/// `distinguish` adds `-` and 8 digits of the content hash to DEVICE, for where two would share a name. NAME is cut at a
/// character boundary so that the whole is at most 255 bytes.
pub fn copy_path(path: &SyncPath, version: &Version, distinguish: bool) -> SyncPath {
    let mut stamp = format!("{STAMP}{}-{}", timestamp(version.rank), version.dot.actor.device.short());
    if distinguish {
        stamp.push('-');
        stamp.push_str(&version.value.content().hash().to_string()[..8]);
    }
    let (stem, extension) = split_extension(path.name(), NAME_BYTES_MAX - stamp.len());
    let room = NAME_BYTES_MAX - stamp.len() - extension.len();
    let name = [&shorten(path, stem, room), stamp.as_bytes(), extension].concat();
    let parent = path.parent().unwrap_or_else(SyncPath::root);
    // Only a path that is itself near the length limit can fail here; its copy then stands at the top of the tree.
    parent.join(&name).or_else(|_| SyncPath::parse(&name)).expect("a name of at most 255 valid bytes")
}

/// NAME and `.EXT`: at the last dot that is not the first byte. An extension that leaves no room is none.
fn split_extension(name: &[u8], room: usize) -> (&[u8], &[u8]) {
    match name.iter().rposition(|byte| *byte == b'.') {
        Some(dot) if dot > 0 && name.len() - dot + MARK_BYTES < room => name.split_at(dot),
        _ => (name, b""),
    }
}

/// Cuts a stem to the room there is. What was itself a copy's name is marked with a hash of its path when it is cut, so
/// that no two paths can each be the other's copy: names either grow or hold the hash of the name they came from.
fn shorten(path: &SyncPath, stem: &[u8], room: usize) -> Vec<u8> {
    let is_copy = stem.windows(STAMP.len()).any(|window| window == STAMP.as_bytes());
    if stem.len() <= room || !is_copy {
        return cut(stem, room).to_vec();
    }
    let mark = format!("~{}", &ContentHash::of(path.as_bytes()).to_string()[..16]);
    [cut(stem, room.saturating_sub(mark.len())), mark.as_bytes()].concat()
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
}
