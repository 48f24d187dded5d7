//! Large contents of a member that has other bytes at their end than it said, whose file changes while it is read, or that
//! breaks off in the middle. All of it is right up to there.
//!
//! Promises checked here: V3, S2.

use std::collections::BTreeMap;

use file_sync_core::effect::{Chunk, ChunkList};
use file_sync_core::version::{ContentHash, Time, Value};
use file_sync_wire::content::{
    ContentError, ContentFrame, ContentPiece, ContentRequest, ContentWhat, PIECE_BYTES_MAX,
    decode_content_frame, encode_content_frame,
};
use file_sync_wire::encode_chunk_list;

use crate::enemy::{Enemy, Line, entry, path};
use crate::hostile::others_go_on;
use crate::world::{PATIENCE, eventually, sharing};

/// Less than a window, so that it can be sent without being asked for more.
const N_BYTES: usize = 1_300_001;
const CHUNK_BYTES: usize = 100_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    LastByte,
    Changes,
    BreaksOff,
}

/// A content that the member announces, and how often it was asked for ranges of it.
struct Told {
    name: &'static str,
    bytes: Vec<u8>,
    fault: Fault,
    n_asked: usize,
}

impl Told {
    fn new(name: &'static str, fault: Fault) -> Told {
        let seed = name.as_bytes();
        let bytes = (0..N_BYTES).map(|at| (at / 7 + at % 251) as u8 ^ seed[at % seed.len()]).collect();
        Told { name, bytes, fault, n_asked: 0 }
    }

    fn is_told_enough(&self) -> bool {
        self.n_asked > usize::from(self.fault == Fault::BreaksOff)
    }

    fn list(&self) -> ChunkList {
        let chunk = |bytes: &[u8]| Chunk { hash: ContentHash::of(bytes), length: bytes.len() as u32 };
        ChunkList { average_bytes: 64 << 10, chunks: self.bytes.chunks(CHUNK_BYTES).map(chunk).collect() }
    }

    /// What is sent of a range: up to where something goes wrong.
    fn data(&self, offset: u64, length: u32) -> (Vec<u8>, bool) {
        let start = usize::try_from(offset).expect("it is short");
        let mut data = self.bytes[start..start + length as usize].to_vec();
        let is_last = start + data.len() == N_BYTES;
        if is_last && self.fault == Fault::LastByte {
            *data.last_mut().expect("a range has bytes") ^= 1;
        }
        let goes_wrong =
            self.fault == Fault::Changes || (self.fault == Fault::BreaksOff && self.n_asked == 1);
        (data, is_last && goes_wrong)
    }
}

/// Answers a request; false once the connection is to be broken.
fn answer(line: &mut Line, told: &mut BTreeMap<ContentHash, Told>, request: ContentRequest) -> bool {
    let piece = |item: usize, data: &[u8], ends| ContentPiece {
        id: request.id,
        item: item as u32,
        data_bytes: data.len() as u32,
        ends,
        content_length: N_BYTES as u64,
        error: None,
    };
    let send = |line: &mut Line, piece: ContentPiece, data: &[u8]| {
        line.send(&encode_content_frame(&ContentFrame::Piece(piece)));
        line.send_raw(data);
    };
    match request.what {
        ContentWhat::ChunkList(content) => {
            let data = encode_chunk_list(&told[&content].list());
            send(line, piece(0, &data, true), &data);
        }
        ContentWhat::Ranges(content, ranges) => {
            let told = told.get_mut(&content).expect("it was announced");
            told.n_asked += 1;
            for (item, (offset, length)) in ranges.into_iter().enumerate() {
                let (data, goes_wrong) = told.data(offset, length);
                let n_pieces = data.len().div_ceil(PIECE_BYTES_MAX);
                for (number, data) in data.chunks(PIECE_BYTES_MAX).enumerate() {
                    let ends = number + 1 == n_pieces;
                    if ends && goes_wrong {
                        if told.fault == Fault::BreaksOff {
                            return false;
                        }
                        let error = Some(ContentError::Changed);
                        send(line, ContentPiece { error, ..piece(item, &[], true) }, &[]);
                        return true;
                    }
                    send(line, piece(item, data, ends), data);
                }
            }
        }
        ContentWhat::Small(_) | ContentWhat::Kept(_) => panic!("nothing of that kind was announced"),
    }
    true
}

#[test]
fn v3_s2_large_contents_that_go_wrong_at_their_end_are_not_placed_and_one_that_broke_off_comes() {
    let (alpha, beta) = sharing();
    let enemy = Enemy::paired(&alpha);
    let (mut line, directory) = enemy.member(1);
    let told = [
        ("whole", Fault::None),
        ("last-byte", Fault::LastByte),
        ("changes", Fault::Changes),
        ("breaks-off", Fault::BreaksOff),
    ];
    let told = told.map(|(name, fault)| Told::new(name, fault));
    let announced = told.iter().enumerate().map(|(number, told)| {
        let (at, content) = (path(told.name), ContentHash::of(&told.bytes));
        let value = Value::File { content, length: N_BYTES as u64, mode: 0o644, mtime: Time::default() };
        entry(&at, enemy.version(&directory, &at, number as u64 + 1, value))
    });
    line.announce(directory, 0, announced.collect());
    line.barrier(1);
    let mut told: BTreeMap<_, _> =
        told.into_iter().map(|told| (ContentHash::of(&told.bytes), told)).collect();
    let mut content = enemy.content(1);
    while !told.values().all(Told::is_told_enough) {
        let Some(frame) = content.frame() else {
            content = enemy.content(1);
            continue;
        };
        let Ok(ContentFrame::Request(request)) = decode_content_frame(&frame) else { continue };
        if !answer(&mut content, &mut told, request) {
            content = enemy.content(1);
        }
    }
    eventually(PATIENCE, || {
        let is_right = |device: &crate::device::Device, told: &Told| {
            std::fs::read(device.root().join(told.name)).is_ok_and(|bytes| bytes == told.bytes)
        };
        let right = told.values().filter(|told| matches!(told.fault, Fault::None | Fault::BreaksOff));
        let lacking: Vec<_> =
            right.filter(|told| !is_right(&alpha, told) || !is_right(&beta, told)).collect();
        match lacking.first() {
            None => Ok(()),
            Some(told) => Err(format!("{} has not come; {}", told.name, alpha.log())),
        }
    });
    others_go_on(&alpha, &beta, "beside-large-lies");
    for name in ["last-byte", "changes"] {
        assert!(!alpha.user().has(name) && !beta.user().has(name), "{name} was placed");
    }
}
