//! Rows and states to store, with every shape that a register or record may have.

use file_sync_core::context::Context;
use file_sync_core::effect::{Chunk, ChunkList, Kept};
use file_sync_core::engine::{Doubt, Incarnation};
use file_sync_core::message::Member;
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Record, Stat};
use file_sync_core::register::{Register, Settled};
use file_sync_core::version::{
    Actor, Changed, Content, ContentHash, DeviceId, Dot, Signature, Time, Value, Version,
};
use file_sync_index::{Act, Batch, DirectoryState, RemoteState, Row};

pub fn path(bytes: impl AsRef<[u8]>) -> SyncPath {
    SyncPath::parse(bytes.as_ref()).expect("a valid path")
}

pub fn hash(number: u64) -> ContentHash {
    ContentHash::of(&number.to_le_bytes())
}

pub fn device(number: u8) -> DeviceId {
    DeviceId([number; 32])
}

pub fn dot(device_number: u8, counter: u64) -> Dot {
    Dot {
        actor: Actor { device: device(device_number), epoch: u64::MAX - u64::from(device_number) },
        counter,
    }
}

pub fn time(seconds: i64, nanoseconds: u32) -> Time {
    Time { seconds, nanoseconds }
}

pub fn file(number: u64) -> Value {
    let mtime = time(1_760_000_000 + number as i64, 123_456_789);
    Value::File { content: hash(number), length: 1000 + number, mode: 0o644, mtime }
}

/// A create: the usual version.
pub fn version(dot: Dot, value: Value) -> Version {
    Version {
        dot,
        rank: value.mtime().unwrap_or_default(),
        value,
        replaced: Vec::new(),
        heard: None,
        base: Content::Absent,
        changed: Changed::ALL,
        born_at: None,
        signature: Signature(Some([7; 64])),
    }
}

pub fn register(versions: Vec<Version>) -> Register {
    Register::from_parts(versions, Context::default(), Vec::new())
}

pub fn stat(number: u64) -> Stat {
    Stat {
        device: 8 << 32 | 1,
        inode: 1_000_000 + number,
        size: 1000 + number,
        mode: 0o644,
        mtime: time(1_760_000_000 + number as i64, 123_456_789),
        ctime: time(1_760_000_100, 1),
    }
}

/// The usual row: a file that is on the disk as its one version says.
pub fn plain_row(name: impl AsRef<[u8]>, number: u64) -> Row {
    let value = file(number);
    let record = Record { content: value.content(), stat: stat(number) };
    let register = register(vec![version(dot(1, number), value)]);
    Row { path: path(name), register, record: Some(record), sequence: number, holds: true }
}

/// A row of every shape; sequences from 1.
pub fn odd_rows() -> Vec<Row> {
    let mut edit = version(dot(1, 9), file(9));
    edit.replaced = vec![dot(1, 3), dot(2, 4)];
    edit.base = Content::File(hash(3));
    edit.changed = Changed { content: true, mode: false, mtime: true };
    edit.rank = time(-5, 999_999_999);
    edit.signature = Signature(None);
    let mut link = version(dot(2, u64::MAX), Value::Symlink { target: b"../\xff there".as_slice().into() });
    link.base = Content::Symlink(hash(4));
    let mut foreign = version(dot(3, 12), file(12));
    foreign.born_at = Some(path("before/a.sync-conflict"));
    foreign.base = Content::Directory;
    let gone = version(dot(2, 5), Value::Absent { directory_mode: Some(0o755) });
    let wide =
        Context::from_parts(vec![(dot(1, 0).actor, 9), (dot(4, 0).actor, 77)], vec![dot(3, 12), dot(3, 13)]);
    let settled = Settled { version: edit.clone(), copy: Some(path(b"copy\xfe/of")) };
    let registers = [
        register(vec![edit.clone()]),
        register(vec![link.clone()]),
        register(vec![foreign]),
        register(vec![gone]),
        register(vec![version(dot(1, 6), Value::ABSENT)]),
        register(vec![version(dot(1, 7), Value::Directory { mode: 0o700 })]),
        Register::from_parts(vec![edit, link], wide.clone(), vec![settled]),
        // Deleted, and only the context tells.
        Register::from_parts(Vec::new(), wide, Vec::new()),
        Register::default(),
    ];
    let link_content = Value::Symlink { target: b"../\xff there".as_slice().into() }.content();
    let records = [
        Some(Record { content: Content::File(hash(9)), stat: stat(9) }),
        Some(Record { content: link_content, stat: stat(0) }),
        Some(Record { content: Content::Directory, stat: stat(12) }),
        Some(Record { content: Content::Symlink(hash(1)), stat: stat(1) }),
        None,
        Some(Record { content: Content::Directory, stat: Stat { mode: 0o700, ..stat(2) } }),
        Some(Record {
            content: Content::File(hash(8)),
            stat: Stat {
                size: u64::MAX,
                device: u64::MAX,
                inode: u64::MAX,
                mtime: time(i64::MIN, 0),
                ..stat(3)
            },
        }),
        None,
        Some(Record { content: Content::File(hash(77)), stat: Stat { ctime: time(i64::MAX, 5), ..stat(4) } }),
    ];
    let names: [&[u8]; 9] =
        [b"a/b/c/d", b"a", b"\xff\xfe", b"a/\xc3\x28/x", b"z", b"a/b", b"new\nline", b"a/b/c", b"deep/er"];
    let rows = names.into_iter().zip(registers).zip(records);
    rows.zip(1..)
        .map(|(((name, register), record), sequence)| Row {
            path: path(name),
            register,
            record,
            sequence,
            holds: sequence % 2 == 0,
        })
        .collect()
}

pub fn state(sequence: u64) -> DirectoryState {
    let member = Member { number: u64::MAX, active: true, key: [9; 32] };
    let left = Member { number: 2, active: false, key: [8; 32] };
    let remote =
        RemoteState { index_id: u64::MAX, merged: 17, acknowledged: 3, incarnation: 1 << 63, heard: 0 };
    DirectoryState {
        index_id: 0xfedc_ba98_7654_3210,
        epoch: u64::MAX - 1,
        counter: sequence,
        sequence,
        incarnations: [5, u64::MAX, 1].map(|number| Incarnation { number, began: i64::MAX as u64 }).to_vec(),
        members: [(device(1), member), (device(2), left)].into(),
        remotes: [(device(2), remote), (device(3), RemoteState::default())].into(),
        first_scan_done: true,
    }
}

pub fn chunk_list(number: u64) -> ChunkList {
    let chunks = (number..number + 3).map(|n| Chunk { hash: hash(n), length: u32::MAX - n as u32 }).collect();
    ChunkList { average_bytes: 1 << 17, chunks }
}

pub fn kept(name: &str, number: u64) -> Kept {
    let at = time(1_760_000_000 + number as i64, 5);
    Kept {
        name: name.to_owned(),
        path: path(b"a/\xffk"),
        content: Content::File(hash(number)),
        stat: stat(number),
        at,
    }
}

pub fn acts() -> Vec<Act> {
    let act = Act {
        at: time(1_760_000_000, 5),
        path: path(b"acted/on/\xff"),
        before: Some(hash(1)),
        after: Some(hash(2)),
        what: "replaced".to_owned(),
        why: "a newer version".to_owned(),
        by: Some(device(3)),
    };
    let other = Act { path: SyncPath::root(), before: None, after: None, by: None, ..act.clone() };
    vec![act, other]
}

/// Everything at once.
pub fn full_batch() -> Batch {
    Batch {
        rows: odd_rows(),
        chunk_lists: vec![(hash(9), chunk_list(1)), (hash(1000), chunk_list(5))],
        kept_removed: Vec::new(),
        kept_added: vec![kept("one", 1), kept("two", 2)],
        acts: acts(),
        doubts: vec![doubt(b"a/\xffk", 3), doubt(b"b", 4)],
        state: Some(state(9)),
    }
}

/// A doubt about a path, of all that a doubt can hold for an odd number.
pub fn doubt(at: &[u8], n: u8) -> (SyncPath, Option<Doubt>) {
    let is_odd = n % 2 == 1;
    let value = if is_odd {
        let mtime = Time { seconds: -1, nanoseconds: 999_999_999 };
        Value::File { content: hash(n.into()), length: 5, mode: 0o640, mtime }
    } else {
        Value::Absent { directory_mode: None }
    };
    let contents = [Content::File(hash(70)), Content::Symlink(hash(71)), Content::Directory, Content::Absent];
    let copies = contents.into_iter().enumerate().filter(|_| is_odd);
    let copies = copies.map(|(index, content)| (path(format!("copy/{index}")), content)).collect();
    (path(at), Some(Doubt { value, is_implied: is_odd, taken: is_odd.then(|| hash(72)), copies }))
}
