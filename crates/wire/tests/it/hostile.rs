//! What no device sends is refused, whole, without a panic and without taking much memory.

use file_sync_core::message::{MESSAGE_BYTES_MAX, Message};
use file_sync_core::path::PathError;
use file_sync_wire::kept::{KEPT_PAGE_BYTES_MAX, decode_kept_page};
use file_sync_wire::{
    WireError, decode_chunk_list, decode_message, decode_register, encode_chunk_list, encode_message,
    encode_register,
};

use crate::generate::Generator;

/// A length-delimited protobuf field.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = body.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(body);
    bytes
}

/// A varint protobuf field below 128.
fn small(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// A batch with one actor, and one entry of this path, whose register is this.
fn batch(path: &[u8], register: &[u8]) -> Vec<u8> {
    let entry = [field(1, path), field(3, register)].concat();
    let actor = field(1, &[5; 32]);
    let entries = [field(1, &[1; 16]), field(5, &actor), field(6, &entry)].concat();
    field(8, &entries)
}

/// A register of one version: counter 1 and these fields.
fn version(fields: &[Vec<u8>]) -> Vec<u8> {
    field(1, &[small(2, 1), fields.concat()].concat())
}

#[test]
fn h1_hostile_paths_do_not_decode() {
    let good = version(&[field(3, &[])]);
    assert!(decode_message(&batch(b"a", &good)).is_ok());
    let cases: [(&[u8], PathError); 6] = [
        (b"../a", PathError::Dots),
        (b"a/..", PathError::Dots),
        (b"/etc/passwd", PathError::Empty),
        (b"", PathError::Empty),
        (b"a/.file-sync/marker", PathError::Reserved),
        (b"a\0b", PathError::Nul),
    ];
    for (path, error) in cases {
        assert_eq!(decode_message(&batch(path, &good)), Err(WireError::Path(error.clone())), "{path:?}");
        // What was settled may be shown nowhere, and what was written may have been so here.
        if !path.is_empty() {
            let settled =
                field(4, &[field(1, &[small(2, 1), field(3, &[])].concat()), field(2, path)].concat());
            assert_eq!(
                decode_message(&batch(b"a", &settled)),
                Err(WireError::Path(error.clone())),
                "{path:?}"
            );
            let born = version(&[field(3, &[]), field(12, path)]);
            assert_eq!(decode_message(&batch(b"a", &born)), Err(WireError::Path(error)), "{path:?}");
        }
    }
}

#[test]
fn h3_wrong_lengths_and_numbers_do_not_decode() {
    let file = |fields: &[Vec<u8>]| field(4, &fields.concat());
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("no value", version(&[])),
        ("counter 0", field(1, &field(3, &[]))),
        ("actor not in the table", field(1, &[small(1, 1), small(2, 1), field(3, &[])].concat())),
        ("short hash", version(&[file(&[field(1, &[0; 31])])])),
        ("long hash", version(&[file(&[field(1, &[0; 33])])])),
        ("no hash", version(&[file(&[])])),
        ("setuid", version(&[file(&[field(1, &[0; 32]), vec![3 << 3, 0xed, 0x13]])])),
        ("nanoseconds", version(&[file(&[field(1, &[0; 32]), vec![5 << 3, 0x80, 0x94, 0xeb, 0xdc, 0x03]])])),
        ("short signature", version(&[field(3, &[]), field(13, &[0; 63])])),
        ("base kind", version(&[field(3, &[]), small(9, 4)])),
        ("base without hash", version(&[field(3, &[]), small(9, 2)])),
        ("changed", version(&[field(3, &[]), small(11, 8)])),
        ("empty symlink", version(&[field(6, &[])])),
        ("NUL in a symlink", version(&[field(6, b"a\0b")])),
        ("half a dot", version(&[field(3, &[]), field(8, &[0])])),
        ("replaced counter 0", version(&[field(3, &[]), field(8, &[0, 0])])),
        ("heard actor", field(2, &[9, 1])),
    ];
    for (case, register) in bad {
        assert!(decode_message(&batch(b"a", &register)).is_err(), "{case}");
    }
    assert!(decode_message(&field(3, &field(1, &[0; 15]))).is_err(), "short directory id");
    assert!(decode_message(&field(3, &[])).is_err(), "no directory id");
    let member = [field(1, &[1; 32]), field(4, &[2; 32])].concat();
    let members = field(7, &[field(1, &[0; 16]), field(2, &member)].concat());
    assert!(decode_message(&members).is_err(), "a key that is not the id's");
}

#[test]
fn unknown_messages_are_named_so() {
    assert_eq!(decode_message(&[]), Err(WireError::UnknownMessage));
    assert_eq!(decode_message(&field(15, &[])), Err(WireError::UnknownMessage), "it is the link's own");
    assert_eq!(decode_message(&[0xa2, 0x01, 0]), Err(WireError::UnknownMessage), "field 20");
    assert_eq!(decode_register(&[2, 0, 0]), Err(WireError::UnknownFormat(2)));
    assert_eq!(decode_chunk_list(&[9, 0, 0, 0, 0]), Err(WireError::UnknownFormat(9)));
    assert_eq!(WireError::UnknownMessage.to_string(), "unknown message");
}

#[test]
fn h3_anything_cut_off_or_flipped_is_refused_or_harmless() {
    for seed in 0..200 {
        let mut generator = Generator::seeded(seed);
        let message = encode_message(&generator.message());
        let register = encode_register(&generator.register());
        for length in 0..message.len() {
            _ = decode_message(&message[..length]);
        }
        for length in 0..register.len() {
            _ = decode_register(&register[..length]);
        }
        for _ in 0..200 {
            let mut bytes = message.clone();
            let at = generator.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << generator.below(8);
            if let Ok(decoded) = decode_message(&bytes) {
                assert_eq!(decode_message(&encode_message(&decoded)), Ok(decoded), "seed {seed}");
            }
        }
        let list = encode_chunk_list(&generator.chunk_list());
        for length in 0..list.len() {
            assert_eq!(decode_chunk_list(&list[..length]).is_err(), length < 5 || (length - 5) % 36 != 0);
        }
    }
    let random: Vec<u8> = (0..10_000).map(|index: u32| (index * 31 % 251) as u8).collect();
    assert!(decode_message(&random).is_err());
}

#[test]
fn h3_a_message_of_nothings_does_not_grow() {
    // Four million empty submessages, at each depth, would take gigabytes if they were decoded first and judged later.
    let nothings: Vec<u8> = [6 << 3 | 2, 0].repeat(MESSAGE_BYTES_MAX / 2 - 64);
    let entries = field(8, &[field(1, &[1; 16]), nothings].concat());
    assert!(decode_message(&entries).is_err());

    let least = version(&[field(3, &[])]);
    let versions = least.repeat((MESSAGE_BYTES_MAX - 128) / least.len());
    assert_eq!(decode_message(&batch(b"a", &versions)), Err(WireError::TooLarge));

    let dots = field(2, &[0, 1].repeat(MESSAGE_BYTES_MAX / 2 - 128));
    assert_eq!(decode_message(&batch(b"a", &dots)), Err(WireError::TooLarge));

    let offers: Vec<u8> = [1 << 3 | 2, 0].repeat(1 << 20);
    assert_eq!(decode_message(&field(2, &offers)), Err(WireError::TooLarge));
    assert_eq!(decode_message(&vec![0; MESSAGE_BYTES_MAX + 1]), Err(WireError::TooLarge));
    assert_eq!(decode_message(&encode_message(&Message::Pong)), Ok(Message::Pong));
}

#[test]
fn h1_h3_kept_versions_that_no_device_keeps_do_not_decode() {
    let place = |path: &[u8]| field(1, &[field(1, path), field(2, &small(1, 2))].concat());
    let file = |hash: &[u8]| field(2, &field(1, hash));
    let page = |version: &[Vec<u8>]| decode_kept_page(&field(1, &version.concat()));
    assert!(page(&[place(b"a"), file(&[1; 32])]).is_ok());
    assert!(page(&[place(b"a"), field(3, b"target")]).is_ok());
    for (version, error) in [
        (vec![file(&[1; 32])], "without a place"),
        (vec![place(b"a")], "without a value"),
        (vec![field(1, &field(1, b"a")), file(&[1; 32])], "without a time"),
        (vec![place(b""), file(&[1; 32])], "empty"),
        (vec![place(b"../a"), file(&[1; 32])], ".."),
        (vec![place(b".file-sync/x"), file(&[1; 32])], ".file-sync"),
        (vec![place(b"a"), file(&[1; 31])], "content hash"),
        (vec![place(b"a"), field(3, b"")], "symlink target"),
        (vec![place(b"a"), field(3, b"a\0b")], "symlink target"),
        (vec![place(b"a"), field(2, &[field(1, &[1; 32]), vec![3 << 3, 0x80, 0x10]].concat())], "mode"),
    ] {
        let refused = page(&version).expect_err(error).to_string();
        assert!(refused.contains(error), "{refused} for {error}");
    }
    let many = [place(b"a"), file(&[1; 32])].concat();
    let long = field(1, &many).repeat(KEPT_PAGE_BYTES_MAX / 40);
    assert_eq!(decode_kept_page(&long), Err(WireError::TooLarge));
    let empty = field(1, &[]).repeat(KEPT_PAGE_BYTES_MAX / 2);
    assert!(decode_kept_page(&empty).is_err());
}
