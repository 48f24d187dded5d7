//! The staging area.
//!
//! Promise checked here, beside others: V3.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use file_sync_core::version::ContentHash;

use crate::support::Scene;

fn n_staged(scene: &Scene) -> usize {
    fs::read_dir(scene.at(".file-sync/stage")).unwrap().count()
}

#[test]
fn v3_wrong_bytes_are_not_staged() {
    let scene = Scene::new();
    let content = ContentHash::of(b"right");
    let results = scene.root.stage_small(&[(content, b"wrong"), (content, b"right"), (content, b"right")]);
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, true]);
    assert!(scene.root.staged(content));
    scene.root.discard_stage(content).unwrap();
    assert!(!scene.root.staged(content));
    assert_eq!(n_staged(&scene), 0);
}

#[test]
fn v3_a_large_file_is_whole_only_when_all_of_it_is_what_was_announced() {
    let scene = Scene::new();
    let bytes = vec![7; 200_000];
    let content = ContentHash::of(&bytes);
    let file = scene.root.open_stage(content, 200_000).unwrap();
    file.write_at(100_000, &bytes[100_000..]).unwrap();
    assert!(file.write_at(150_000, &bytes[..100_000]).is_err(), "beyond the end");
    assert!(file.write_at(u64::MAX, b"x").is_err());
    drop(file);
    let file = scene.root.open_stage(content, 200_000).unwrap();
    let mut buffer = vec![0; 200_000];
    file.read_at(0, &mut buffer).unwrap();
    assert_eq!(
        (&buffer[..100_000], &buffer[100_000..]),
        (&vec![0; 100_000][..], &bytes[100_000..]),
        "resumed"
    );
    file.write_at(0, &bytes[..100_000]).unwrap();
    assert!(!scene.root.staged(content));
    assert!(file.finish().unwrap());
    assert!(scene.root.staged(content));
    let other = scene.root.open_stage(ContentHash::of(b"other"), 5).unwrap();
    other.write_at(0, b"wrong").unwrap();
    assert!(!other.finish().unwrap());
    assert_eq!(n_staged(&scene), 1);
}

/// Numbers that look like chance, from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }

    /// Some of them zero, so that there are holes.
    fn bytes(&mut self, n_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; n_bytes];
        for block in bytes.chunks_mut(50_000) {
            if self.below(4) > 0 {
                block.fill_with(|| self.below(256) as u8);
            }
        }
        bytes
    }

    /// All of a file in pieces, now and then aligned as those are that a remote sends, in some order.
    fn pieces(&mut self, n_bytes: usize) -> Vec<(usize, usize)> {
        let (mut pieces, mut start) = (Vec::new(), 0);
        while start < n_bytes {
            let longest = [100, 20_000, 300_000][self.below(3)];
            let stop = if self.below(2) == 0 {
                (start / 65_536 + 1) * 65_536
            } else {
                start + 1 + self.below(longest)
            };
            pieces.push((start, stop.min(n_bytes)));
            start = stop;
        }
        for last in (1..pieces.len()).rev() {
            pieces.swap(last, self.below(last + 1));
        }
        pieces
    }
}

#[test]
fn v3_pieces_in_any_order_come_to_what_the_file_is_and_one_wrong_byte_to_something_else() {
    let scene = Scene::new();
    for seed in 1..=200 {
        let mut chance = Chance(seed);
        let base = [1, 16 << 10, 64 << 10, 128 << 10, 192 << 10, 1 << 20][chance.below(6)];
        let n_bytes = (base + chance.below(3)).saturating_sub(1).max(1);
        let bytes = chance.bytes(n_bytes);
        let content = ContentHash::of(&bytes);
        let pieces = chance.pieces(n_bytes);
        // Some of it was there before; what was is found out by reading.
        let n_before = if chance.below(3) == 0 { chance.below(pieces.len() + 1) } else { 0 };
        let (before, now) = pieces.split_at(n_before);
        let file = scene.root.open_stage(content, n_bytes as u64).unwrap();
        before.iter().for_each(|(start, stop)| file.write_at(*start as u64, &bytes[*start..*stop]).unwrap());
        drop(file);
        let wrong_at =
            (chance.below(2) == 0).then(|| if seed % 2 == 0 { n_bytes - 1 } else { chance.below(n_bytes) });
        let file = scene.root.open_stage(content, n_bytes as u64).unwrap();
        let mut sent = bytes.clone();
        wrong_at.into_iter().for_each(|at| sent[at] ^= 1);
        let is_wrong =
            wrong_at.is_some_and(|at| now.iter().any(|(start, stop)| (*start..*stop).contains(&at)));
        std::thread::scope(|scope| {
            for part in now.chunks(now.len().div_ceil(3).max(1)) {
                let (file, sent) = (&file, &sent);
                scope.spawn(move || {
                    for (start, stop) in part {
                        file.write_at(*start as u64, &sent[*start..*stop]).unwrap();
                    }
                });
            }
        });
        assert_eq!(file.finish().unwrap(), !is_wrong, "seed {seed}");
        assert_eq!(scene.root.staged(content), !is_wrong, "seed {seed}");
        scene.root.discard_stage(content).unwrap();
        assert_eq!(n_staged(&scene), 0, "seed {seed}");
    }
}

#[test]
fn v3_what_is_written_over_counts_as_it_is_in_the_end() {
    let scene = Scene::new();
    let bytes = Chance(7).bytes(1 << 20);
    let content = ContentHash::of(&bytes);
    let wrong: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
    for n_over in [1, 100, 20_000, 1 << 20] {
        for at in [0, 300_000, (1 << 20) - n_over] {
            let over = at..(at + n_over).min(1 << 20);
            for (first, last, is_right) in [(&wrong, &bytes, true), (&bytes, &wrong, false)] {
                let file = scene.root.open_stage(content, 1 << 20).unwrap();
                let mut sent = bytes.clone();
                sent[over.clone()].copy_from_slice(&first[over.clone()]);
                sent.chunks(100 << 10).enumerate().for_each(|(number, piece)| {
                    file.write_at((number * (100 << 10)) as u64, piece).unwrap();
                });
                file.write_at(over.start as u64, &last[over.clone()]).unwrap();
                assert_eq!(file.finish().unwrap(), is_right, "{over:?}");
                scene.root.discard_stage(content).unwrap();
            }
        }
    }
}

#[test]
fn v3_what_was_never_written_counts_as_it_is_in_the_file() {
    let scene = Scene::new();
    let mut bytes = Chance(8).bytes(1 << 20);
    bytes[200_000..500_000].fill(0);
    for (content, is_right) in [(ContentHash::of(&bytes), true), (ContentHash::of(b"other"), false)] {
        let file = scene.root.open_stage(content, 1 << 20).unwrap();
        file.write_at(500_000, &bytes[500_000..]).unwrap();
        file.write_at(0, &bytes[..200_000]).unwrap();
        assert_eq!(file.finish().unwrap(), is_right);
    }
    // Cut short by somebody, which no piece tells.
    let content = ContentHash::of(&bytes);
    scene.root.discard_stage(content).unwrap();
    let file = scene.root.open_stage(content, 1 << 20).unwrap();
    file.write_at(0, &bytes).unwrap();
    let part = scene.at(format!(".file-sync/stage/{content}.part"));
    fs::File::options().write(true).open(part).unwrap().set_len(1_000).unwrap();
    assert!(!file.finish().unwrap());
}

#[test]
fn a_sparse_file_arrives_sparse() {
    let scene = Scene::new();
    let mut bytes = vec![0; 8 << 20];
    bytes[5_000_000] = 1;
    let content = ContentHash::of(&bytes);
    let file = scene.root.open_stage(content, bytes.len() as u64).unwrap();
    // What an earlier attempt left there must not shine through.
    file.write_at(1 << 20, &vec![9; 1 << 20]).unwrap();
    for (index, piece) in bytes.chunks(300_001).enumerate() {
        file.write_at(index as u64 * 300_001, piece).unwrap();
    }
    assert!(file.finish().unwrap());
    let staged = fs::metadata(scene.at(format!(".file-sync/stage/{content}"))).unwrap();
    assert_eq!(staged.len(), 8 << 20);
    assert!(staged.blocks() * 512 < 512 << 10, "{} blocks", staged.blocks());
}

#[test]
fn c1_a_start_keeps_what_is_wanted_and_whole() {
    let scene = Scene::new();
    let [whole, damaged, unwanted, part] =
        [&b"whole"[..], b"damaged", b"unwanted", b"part"].map(ContentHash::of);
    let stage = scene.at(".file-sync/stage");
    for (name, bytes) in [
        (whole.to_string(), "whole"),
        (damaged.to_string(), ""),
        (unwanted.to_string(), "unwanted"),
        (format!("{part}.part"), "pa"),
        (format!("{unwanted}.part"), "un"),
        ("1-2.tmp".to_owned(), "x"),
    ] {
        fs::write(stage.join(name), bytes).unwrap();
    }
    fs::create_dir(stage.join("1-3.tmp")).unwrap();
    assert!(!scene.root.staged(whole), "not trusted before it was read");
    scene.root.clean_stage(&BTreeSet::from([whole, damaged, part])).unwrap();
    assert!(scene.root.staged(whole));
    assert!(!scene.root.staged(damaged));
    assert_eq!(n_staged(&scene), 2);
}

#[test]
fn what_is_reserved_is_not_cleaned_away_until_nobody_wants_it_any_more() {
    let scene = Scene::new();
    let bytes = [&b"one"[..], b"two"];
    let [one, two] = bytes.map(ContentHash::of);
    let (first, second) = (scene.root.reserve_stage(vec![one, two]), scene.root.reserve_stage(vec![one]));
    scene.root.stage_small(&[(one, bytes[0])])[0].clone().unwrap();
    drop(scene.root.open_stage(two, 3).unwrap());
    for (let_go, staged, n_left) in [(None, true, 2), (Some(first), true, 1), (Some(second), false, 0)] {
        drop(let_go);
        scene.root.clean_stage(&BTreeSet::new()).unwrap();
        assert_eq!((scene.root.staged(one), n_staged(&scene)), (staged, n_left));
    }
}

#[test]
fn c7_a_file_that_has_no_room_is_refused_before_it_is_written() {
    let scene = Scene::new();
    let content = ContentHash::of(b"huge");
    let trouble = scene.root.open_stage(content, 1 << 60).unwrap_err();
    assert_eq!(trouble.kind, file_sync_core::effect::TroubleKind::NoSpace);
    assert_eq!(n_staged(&scene), 0);
}

#[test]
fn c1_a_stage_emptied_by_somebody_else_is_no_source() {
    let scene = Scene::new();
    let op = scene.place("f", "bytes", None);
    let content = ContentHash::of(b"bytes");
    fs::remove_file(scene.at(format!(".file-sync/stage/{content}"))).unwrap();
    assert_eq!(scene.apply(op), file_sync_core::effect::OpOutcome::NoSource);
    assert!(!scene.root.staged(content), "it is asked for again");
}

#[test]
fn place_is_done_whatever_mode_an_earlier_attempt_gave_the_staged_file() {
    let scene = Scene::new();
    fs::write(scene.at("f"), "in the way").unwrap();
    let content = scene.stage(b"bytes");
    let place = |path: &str| file_sync_core::effect::Op::Place {
        path: crate::support::sync(path),
        content,
        source: file_sync_core::effect::Source::Staged { consume: true },
        mode: 0o000,
        mtime: crate::support::MTIME,
        expect: None,
    };
    let outcome = scene.apply(place("f"));
    assert_eq!(outcome, file_sync_core::effect::OpOutcome::Differs { rescued: None });
    scene.done(place("g"));
}

#[test]
fn v3_what_is_staged_is_served_only_when_it_was_verified_and_until_it_is_placed() {
    let scene = Scene::new();
    let bytes: Vec<u8> = (0..50_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let content = ContentHash::of(&bytes);
    let name = scene.at(format!(".file-sync/stage/{content}"));
    fs::write(&name, "wrong").unwrap();
    assert!(scene.root.open_staged_content(content).is_err(), "nobody has verified it");
    scene.root.clean_stage(&BTreeSet::from([content])).unwrap();
    assert!(scene.root.open_staged_content(content).is_err(), "it is not what its name says");
    scene.stage(&bytes);
    fs::set_permissions(&name, fs::Permissions::from_mode(0o000)).unwrap();
    let file = scene.root.open_staged_content(content).unwrap();
    assert_eq!(file.length(), 200_000);
    let (found, list) = file.rechunk(16 << 10).unwrap();
    assert_eq!((found, list.chunks.iter().map(|chunk| chunk.length).sum::<u32>()), (content, 200_000));
    assert!(file.unchanged().unwrap());
    let op = file_sync_core::effect::Op::Place {
        path: crate::support::sync("f"),
        content,
        source: file_sync_core::effect::Source::Staged { consume: true },
        mode: 0o644,
        mtime: crate::support::MTIME,
        expect: None,
    };
    let outcome = scene.apply(op);
    assert!(matches!(outcome, file_sync_core::effect::OpOutcome::Done { .. }), "{outcome:?}");
    let mut buffer = vec![0; 10];
    assert_eq!(file.read_at(100, &mut buffer).unwrap(), 10, "the descriptor stays good");
    assert!((buffer == bytes[100..110]) && !file.unchanged().unwrap(), "it is a user's file now");
    assert!(scene.root.open_staged_content(content).is_err(), "it is served from its path now");
}
