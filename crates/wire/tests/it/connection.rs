//! What connections begin with, and the frames of content connections.

use file_sync_core::path::SyncPath;
use file_sync_core::version::{ContentHash, DirectoryId};
use file_sync_wire::content::{
    ContentError, ContentFrame, ContentPiece, ContentRequest, ContentWhat, ITEMS_MAX, PIECE_BYTES_MAX,
    WINDOW_BYTES_MAX, decode_content_frame, encode_content_frame,
};
use file_sync_wire::kept::KeptQuestion;
use file_sync_wire::preamble::{
    Answer, PairRole, Preamble, Role, decode_answer, decode_preamble, encode_answer, encode_preamble,
};
use file_sync_wire::{WireError, decode_message, encode_content_wanted, is_content_wanted};

use crate::generate::Generator;

#[test]
fn preambles_and_answers_survive() {
    let pair = PairRole { secret: [7; 16], name: "laptop".to_owned(), addresses: vec!["[::]:1".to_owned()] };
    for role in [Role::Control { link: 1, incarnation: 2 }, Role::Content { link: 3 }, Role::Pair(pair)] {
        let preamble = Preamble { protocol_min: 1, protocol_max: 3, role };
        assert_eq!(decode_preamble(&encode_preamble(&preamble)), Ok(preamble));
    }
    let accepted =
        Answer::Accepted { protocol: 1, name: "desk".to_owned(), addresses: vec!["1.2.3.4:5".to_owned()] };
    for answer in [accepted, Answer::Refused { reason: "no".to_owned(), linked: true }] {
        assert_eq!(decode_answer(&encode_answer(&answer)), Ok(answer));
    }
}

#[test]
fn h2_a_preamble_is_short_whatever_is_announced() {
    let addresses = vec!["[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".to_owned(); 1000];
    let role = Role::Pair(PairRole { secret: [0; 16], name: "x".repeat(255), addresses });
    let bytes = encode_preamble(&Preamble { protocol_min: 1, protocol_max: 1, role });
    assert!(bytes.len() < 4096, "{}", bytes.len());
}

#[test]
fn content_frames_survive() {
    let request = |what| {
        ContentFrame::Request(ContentRequest {
            id: 9,
            directory: DirectoryId([1; 16]),
            window_bytes: 5,
            what,
        })
    };
    let piece = |error| ContentPiece { id: 1, item: 2, data_bytes: 3, ends: true, content_length: 4, error };
    let frames = [
        request(ContentWhat::Small(vec![ContentHash([1; 32]), ContentHash([2; 32])])),
        request(ContentWhat::ChunkList(ContentHash([1; 32]))),
        request(ContentWhat::Ranges(ContentHash([1; 32]), vec![(0, 5), (u64::MAX, u32::MAX)])),
        request(ContentWhat::Kept(KeptQuestion { path: SyncPath::root(), after: None })),
        request(ContentWhat::Kept(KeptQuestion {
            path: SyncPath::parse(b"a/b").expect("a good path"),
            after: Some(Generator::seeded(1).kept_place()),
        })),
        ContentFrame::Piece(piece(None)),
        ContentFrame::Piece(piece(Some(ContentError::NotHeld))),
        ContentFrame::Piece(piece(Some(ContentError::Changed))),
        ContentFrame::Piece(piece(Some(ContentError::TooLarge))),
        ContentFrame::Piece(piece(Some(ContentError::Other("why".to_owned())))),
        ContentFrame::Credit { id: 1, bytes: 2 },
        ContentFrame::Cancel { id: 1 },
        ContentFrame::Ping,
    ];
    for frame in frames {
        assert_eq!(decode_content_frame(&encode_content_frame(&frame)), Ok(frame));
    }
}

#[test]
fn h3_content_frames_are_bounded() {
    let request = |window_bytes, what| {
        let request = ContentRequest { id: 1, directory: DirectoryId([1; 16]), window_bytes, what };
        decode_content_frame(&encode_content_frame(&ContentFrame::Request(request)))
    };
    let hash = ContentHash([1; 32]);
    assert!(request(0, ContentWhat::Small(vec![hash; ITEMS_MAX])).is_ok());
    assert_eq!(request(0, ContentWhat::Small(vec![hash; ITEMS_MAX + 1])), Err(WireError::TooLarge));
    assert_eq!(request(0, ContentWhat::Ranges(hash, vec![(0, 1); ITEMS_MAX + 1])), Err(WireError::TooLarge));
    assert_eq!(request(WINDOW_BYTES_MAX + 1, ContentWhat::ChunkList(hash)), Err(WireError::TooLarge));
    let piece = ContentPiece { data_bytes: PIECE_BYTES_MAX as u32 + 1, ..ContentPiece::default() };
    let bytes = encode_content_frame(&ContentFrame::Piece(piece));
    assert_eq!(decode_content_frame(&bytes), Err(WireError::TooLarge));
    assert_eq!(decode_content_frame(&[]), Err(WireError::UnknownMessage));
}

#[test]
fn links_alone_know_the_wish_for_content_connections() {
    assert!(is_content_wanted(&encode_content_wanted()));
    assert_eq!(decode_message(&encode_content_wanted()), Err(WireError::UnknownMessage));
}
