//! What a remote is told: with "all up to this number" nothing is left out, whatever a crash undoes afterwards.

use file_sync_core::context::Context;

use file_sync_core::engine::{
    Config, Counters, Effect, Engine, Event, Incarnation, Listing, Mode, Now, Stored,
};
use file_sync_core::message::{Attach, Entries, Entry, Member, Members, Message};
use file_sync_core::path::SyncPath;
use file_sync_core::register::Register;
use file_sync_core::version::{
    Actor, Changed, Content, DeviceId, DirectoryId, Dot, Signature, Time, Value, Version,
};

const ABOUT: DirectoryId = DirectoryId([7; 16]);
const OWN: DeviceId = DeviceId([1; 32]);
const TELLING: DeviceId = DeviceId([2; 32]);
const TOLD: DeviceId = DeviceId([3; 32]);
const NOW: Now = Now { wall: Time { seconds: 1_700_000_000, nanoseconds: 0 }, monotonic_ms: 1_000 };

/// An engine that has looked through an empty directory and is attached to both remotes.
fn engine() -> Engine {
    let member = Member { number: 1, active: true, key: [0; 32] };
    let members: Members = [OWN, TELLING, TOLD].map(|id| (id, member.clone())).into();
    let config = Config {
        directory: ABOUT,
        device: OWN,
        mode: Mode::TwoWay,
        only_author: None,
        time_step_ns: 1,
        doubted: false,
        may_have_fallen_back: false,
        hold: Some(Default::default()),
        was_holding: false,
        is_strict: true,
        incarnations: vec![Incarnation { number: 1, began: 0 }],
    };
    let counters = Counters { index_id: 1, epoch: 1, counter: 0, sequence: 0 };
    let mut engine = Engine::new(config, Stored { counters, members, ..Stored::default() }, false, NOW);
    for effect in engine.step(NOW, Event::Tick) {
        if let Effect::Walk { walk, from, .. } = effect {
            let nothing =
                Listing { directory: from, result: Ok(Vec::new()), troubled: Vec::new(), other: Vec::new() };
            engine.step(NOW, Event::Listed { walk, listing: nothing });
            engine.step(NOW, Event::Walked { walk });
        }
    }
    for (from, index_id) in [(TELLING, 22), (TOLD, 33)] {
        engine.step(NOW, Event::PeerUp(from));
        engine.step(NOW, Event::Message { from, message: Message::Attach(attach(index_id)) });
    }
    commit(&mut engine);
    engine
}

fn attach(index_id: u64) -> Attach {
    Attach {
        directory: ABOUT,
        index_id,
        sequence: 0,
        known_index_id: 1,
        known_sequence: 0,
        counters: Default::default(),
        receives_only: false,
        sends_only: false,
        members: Members::default(),
        incarnation: 1,
        known_incarnation: 1,
        heard_sequence: 0,
    }
}

fn commit(engine: &mut Engine) -> Vec<Effect> {
    let mut effects = Vec::new();
    while let Some(commit) = engine.take_commit() {
        effects.extend(engine.step(NOW, Event::Committed { sequence: commit.counters.sequence }));
    }
    effects
}

/// The remote's `n`-th edit of a symlink, which replaces those before it.
fn edit(path: &SyncPath, n: u64) -> Event {
    let actor = Actor { device: TELLING, epoch: 1 };
    let version = Version {
        dot: Dot { actor, counter: n },
        value: Value::Symlink { target: format!("{n}").into_bytes().into() },
        rank: Time::default(),
        replaced: (1..n).map(|counter| Dot { actor, counter }).collect(),
        heard: None,
        base: Content::Absent,
        changed: Changed::ALL,
        born_at: None,
        signature: Signature(None),
    };
    let register = Register::from_parts(vec![version], Context::default(), Vec::new());
    let entries = vec![Entry { path: path.clone(), register, holds: true }];
    let entries = Entries { directory: ABOUT, index_id: 22, after: n - 1, through: n, latest: n, entries };
    Event::Message { from: TELLING, message: Message::Entries(entries) }
}

/// Through which number the other remote was told, and which paths.
fn told(effects: &[Effect]) -> (u64, Vec<SyncPath>) {
    let entries = effects.iter().filter_map(|effect| match effect {
        Effect::Send { to: TOLD, message: Message::Entries(entries) } => Some(entries),
        _ => None,
    });
    entries.fold((0, Vec::new()), |(through, mut paths), entries| {
        paths.extend(entries.entries.iter().map(|entry| entry.path.clone()));
        (entries.through.max(through), paths)
    })
}

#[test]
fn s1_no_number_is_told_whose_path_has_changed_again_and_is_not_durable_so() {
    let path = SyncPath::parse(b"x").expect("a good path");
    let mut engine = engine();
    engine.step(NOW, edit(&path, 1));
    let first = engine.take_commit().expect("something was learnt");
    // While that is being made durable the path changes again. A crash now would leave it as it was first.
    engine.step(NOW, edit(&path, 2));
    let effects = engine.step(NOW, Event::Committed { sequence: first.counters.sequence });
    let (through, paths) = told(&effects);
    assert!(through < first.counters.sequence || paths.contains(&path), "through {through}: {paths:?}");
    let (through, paths) = told(&commit(&mut engine));
    assert!(through > first.counters.sequence && paths.contains(&path), "through {through}: {paths:?}");
}

#[test]
fn h3_s2_a_path_that_changes_all_the_time_keeps_nothing_else_from_being_told() {
    let [hot, other] = ["hot", "other"].map(|path| SyncPath::parse(path.as_bytes()).expect("a good path"));
    let mut engine = engine();
    engine.step(NOW, edit(&hot, 1));
    let mut under_way = engine.take_commit().expect("something was learnt");
    let mut is_told = false;
    for n in 2..100 {
        engine.step(NOW, edit(if n == 5 { &other } else { &hot }, n));
        if n != 5 {
            let effects = engine.step(NOW, Event::Committed { sequence: under_way.counters.sequence });
            is_told |= told(&effects).1.contains(&other);
            under_way = engine.take_commit().expect("something was learnt");
        }
    }
    assert!(is_told);
    let (through, paths) = told(&commit_after(&mut engine, under_way.counters.sequence));
    assert!(through >= 99 && paths.contains(&hot), "through {through}: {paths:?}");
}

fn commit_after(engine: &mut Engine, sequence: u64) -> Vec<Effect> {
    let mut effects = engine.step(NOW, Event::Committed { sequence });
    effects.extend(commit(engine));
    effects
}
