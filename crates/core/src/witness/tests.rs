//! Who is believed of what is gone, and who is not.

use super::*;
use crate::tree::{Act, Tree};
use crate::version::{Changed, ContentHash, DeviceId, Signature, Time, Value};

const TOUCH: Changed = Changed { content: false, mode: false, mtime: true };

fn dot(device: u8, counter: u64) -> Dot {
    Dot { actor: Actor { device: DeviceId([device; 32]), epoch: 1 }, counter }
}

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).expect("a good path")
}

fn text(bytes: &str) -> Value {
    let (content, length) = (ContentHash::of(bytes.as_bytes()), bytes.len() as u64);
    Value::File { content, length, mode: 0o644, mtime: Time::default() }
}

fn version(dot: Dot, value: Value) -> Version {
    let (rank, changed, signature) = (Time::default(), Changed::ALL, Signature(None));
    let (replaced, base) = (Vec::new(), Content::Absent);
    Version { dot, value, rank, replaced, heard: None, base, changed, born_at: None, signature }
}

fn written(dot: Dot) -> Version {
    version(dot, text(&format!("{dot:?}")))
}

fn replacing(dot: Dot, replaced: &[Dot]) -> Version {
    Version { replaced: replaced.to_vec(), ..written(dot) }
}

fn heard_of(heard: &[Dot]) -> Context {
    Context::from_parts(heard.iter().map(|dot| (dot.actor, dot.counter)).collect(), Vec::new())
}

fn register(versions: Vec<Version>, heard: &[Dot]) -> Register {
    Register::from_parts(versions, heard_of(heard), Vec::new())
}

fn settling(versions: Vec<Version>, heard: &[Dot], settled: Vec<(Version, Option<&str>)>) -> Register {
    let settled = settled.into_iter().map(|(version, copy)| Settled { version, copy: copy.map(path) });
    Register::from_parts(versions, heard_of(heard), settled.collect())
}

/// What is known here after a remote's word of it.
fn after(own: &Register, said: Register) -> Result<Register, Unproved> {
    let mut known = own.clone();
    known.merge(&believed(&path("f"), said, Some(own))?);
    Ok(known)
}

fn act(tree: &mut Tree, dot: Dot, before: Content, value: Value) {
    let rank = Time { seconds: dot.counter as i64, nanoseconds: 0 };
    tree.act(Act { path: path("f"), before, value, changed: Changed::ALL, rank, dot });
}

fn attesting() -> Tree {
    let mut tree = Tree::of(DeviceId([0; 32]));
    (tree.keeps_witnesses, tree.attests) = (true, true);
    tree
}

fn known(tree: &Tree) -> Register {
    tree.get(&path("f")).expect("something is known of it").register.clone()
}

#[test]
fn h5_a_bare_context_takes_nothing_away() {
    let touched = Version { changed: TOUCH, replaced: vec![dot(1, 3)], ..written(dot(1, 4)) };
    let all = [
        written(dot(1, 3)),
        touched,
        version(dot(1, 3), Value::ABSENT),
        version(dot(1, 3), Value::Directory { mode: 0o755 }),
    ];
    for held in all {
        let own = register(vec![held.clone()], &[]);
        assert_eq!(after(&own, register(Vec::new(), &[held.dot])), Err(Unproved), "{held:?}");
        assert_eq!(after(&own, register(vec![written(dot(2, 1))], &[held.dot])), Err(Unproved));
        // Nor does saying that it went with what had replaced it, or to a name that is no copy's.
        for copy in [None, Some("g"), Some("f.sync-conflict-1")] {
            let said = settling(Vec::new(), &[held.dot], vec![(held.clone(), copy)]);
            let is_copy = copy == Some("f.sync-conflict-1") && held.value.content().is_bytes();
            assert_eq!(after(&own, said).is_ok(), is_copy, "{held:?} {copy:?}");
        }
    }
}

#[test]
fn h5_who_had_seen_a_version_replaces_it_and_who_had_heard_that_it_is_gone_bears_witness() {
    let own = register(vec![written(dot(1, 3))], &[]);
    let heard = Heard { gone: heard_of(&[dot(1, 3)]), beside: Vec::new() };
    let hearing = Version { heard: Some(Box::new(heard)), ..written(dot(2, 1)) };
    for newer in [replacing(dot(2, 1), &[dot(1, 3)]), hearing] {
        let known = after(&own, register(vec![newer.clone()], &[dot(1, 3)])).expect("it is proved");
        assert_eq!(known.versions(), [newer]);
    }
}

#[test]
fn h5_a_later_version_of_the_same_actor_is_no_witness_by_itself() {
    let own = register(vec![written(dot(1, 3))], &[]);
    assert_eq!(after(&own, register(vec![written(dot(1, 7))], &[])), Err(Unproved));
    assert_eq!(after(&own, register(vec![replacing(dot(2, 1), &[dot(1, 7)])], &[dot(1, 7)])), Err(Unproved));
}

#[test]
fn h5_what_stood_beside_cannot_be_left_out() {
    let beside = Heard { gone: heard_of(&[dot(1, 7)]), beside: vec![dot(1, 3)] };
    let newer = Version { heard: Some(Box::new(beside)), ..replacing(dot(2, 1), &[dot(1, 7)]) };
    let stranger = Register::default();
    assert_eq!(after(&stranger, register(vec![newer.clone()], &[])), Err(Unproved));
    let whole = register(vec![newer.clone(), written(dot(1, 3))], &[]);
    assert_eq!(after(&stranger, whole).expect("nothing is left out").versions().len(), 2);
    let copy = Some("f.sync-conflict-1");
    let settled = settling(vec![newer], &[dot(1, 7)], vec![(written(dot(1, 3)), copy)]);
    assert!(after(&stranger, settled).is_ok());
}

#[test]
fn h5_what_nobody_bears_witness_to_does_not_keep_out_what_comes_later() {
    let mut own = register(vec![written(dot(1, 3))], &[]);
    let said = register(vec![written(dot(1, 3))], &[dot(1, 9), dot(2, u64::MAX)]);
    own = after(&own, said).expect("it takes nothing away");
    assert_eq!(own.context().highest(), [(dot(1, 0).actor, 3)]);
    own.merge(&register(vec![written(dot(2, 5))], &[]));
    assert_eq!(own.versions().len(), 2);
}

#[test]
fn h5_who_has_replaced_bytes_before_does_not_replace_them_again() {
    let first = version(dot(1, 1), text("x"));
    let second = Version { base: text("x").content(), ..replacing(dot(2, 2), &[dot(1, 1)]) };
    let reverted = Version { replaced: vec![dot(2, 2), dot(1, 1)], ..version(dot(3, 3), text("x")) };
    let own = register(vec![reverted.clone()], &[]);
    for settled in [vec![(reverted.clone(), None)], vec![(reverted, None), (second.clone(), None)]] {
        assert_eq!(after(&own, settling(vec![second.clone()], &[dot(3, 3)], settled)), Err(Unproved));
    }
    // Of equal bytes that it had not heard of it is known to have replaced the bytes.
    let own = register(vec![version(dot(3, 3), text("x"))], &[]);
    let said = settling(vec![second], &[dot(3, 3)], vec![(version(dot(3, 3), text("x")), None)]);
    assert_eq!(after(&own, said).expect("its bytes were replaced").versions().len(), 1);
    assert!(!register(vec![first], &[]).is_empty());
}

/// Who takes back his own edit, while that is a conflict copy by now, is not replaced by it.
#[test]
fn h5_nobodys_earlier_version_replaces_his_later_one() {
    let copy = Some("f.sync-conflict-1");
    let edit = Version { base: text("x").content(), ..written(dot(3, 2)) };
    let taken_back = Version { replaced: vec![dot(4, 1), dot(1, 1)], ..version(dot(3, 9), text("x")) };
    let own = settling(vec![taken_back.clone()], &[dot(3, 9)], vec![(edit.clone(), copy)]);
    let said = settling(Vec::new(), &[dot(3, 9)], vec![(edit, copy), (taken_back, None)]);
    assert_eq!(after(&own, said), Err(Unproved));
}

#[test]
fn h5_a_directory_settles_to_no_copy() {
    let directory = version(dot(1, 3), Value::Directory { mode: 0o700 });
    let own = register(vec![directory.clone()], &[]);
    let said = settling(Vec::new(), &[dot(1, 3)], vec![(directory, Some("f.sync-conflict-1"))]);
    assert_eq!(after(&own, said), Err(Unproved));
}

#[test]
fn h5_what_was_written_elsewhere_stands_at_copies_names_only() {
    let landed = Version { born_at: Some(path("d/f")), ..written(dot(1, 3)) };
    let at = ["d/f.sync-conflict-1", "d/g", "f.sync-conflict-1", "d/f"];
    for (at, is_good) in at.into_iter().zip([true, false, false, false]) {
        let said = register(vec![landed.clone()], &[]);
        assert_eq!(believed(&path(at), said, None).is_ok(), is_good, "{at}");
    }
    let copy = path("d/f.sync-conflict-1");
    let itself = Version { born_at: Some(copy.clone()), ..written(dot(1, 3)) };
    assert_eq!(believed(&copy, register(vec![itself], &[]), None), Err(Unproved));
}

#[test]
fn h5_an_author_names_what_led_to_a_delete_that_it_writes_over() {
    let mut tree = attesting();
    act(&mut tree, dot(1, 1), Content::Absent, text("a"));
    let old = known(&tree);
    act(&mut tree, dot(2, 2), text("a").content(), Value::ABSENT);
    act(&mut tree, dot(3, 3), Content::Absent, text("b"));
    let now = known(&tree);
    assert_eq!(now.versions()[0].replaced, [dot(2, 2)]);
    assert_eq!(after(&old, now.clone()), Ok(now));
    // Where nothing was deleted, nothing needs to be said.
    let mut plain = attesting();
    act(&mut plain, dot(1, 1), Content::Absent, text("a"));
    act(&mut plain, dot(1, 2), text("a").content(), text("b"));
    act(&mut plain, dot(2, 1), text("b").content(), text("c"));
    assert_eq!(known(&plain).versions()[0].heard, None);
}

/// What one actor says of ten thousands of others is dealt with in no time, and refused where it is a liar's.
#[test]
fn h3_thousands_of_claims_are_borne() {
    let others = |epoch: u64| Dot { actor: Actor { epoch, ..dot(2, 0).actor }, counter: 1 };
    let many: Vec<Dot> = (0..20_000).rev().map(others).collect();
    let foreign = Register::from_parts(
        vec![replacing(dot(1, 1), &many)],
        Context::from_parts(Vec::new(), many.clone()),
        Vec::new(),
    );
    let start = std::time::Instant::now();
    assert!(believed(&path("f"), foreign, None).is_ok());
    let heard = Heard { gone: Context::default(), beside: many.iter().rev().copied().collect() };
    let beside = Version { heard: Some(Box::new(heard)), ..written(dot(1, 1)) };
    let crowd = (2..5_000).map(|counter| written(dot(3, counter)));
    let liar = register(crowd.chain([beside]).collect(), &[]);
    assert_eq!(believed(&path("f"), liar, None), Err(Unproved));
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

/// Numbers that look random, the same for each seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn is_one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Some of what anybody has ever known of a path, put together as somebody likes who wrote none of it.
fn lie(random: &mut Random, told: &[Register]) -> Register {
    let some = |random: &mut Random| told[random.below(told.len())].clone();
    let (mut versions, mut settled, mut heard) = (Vec::new(), Vec::new(), Context::default());
    for _ in 0..=random.below(3) {
        let part = some(random);
        versions.extend(part.versions().iter().filter(|_| !random.is_one_in(3)).cloned());
        settled.extend(part.settled().iter().filter(|_| !random.is_one_in(3)).cloned());
        if random.is_one_in(4) {
            settled.extend(part.versions().iter().map(|gone| Settled { version: gone.clone(), copy: None }));
        }
        heard.union(part.context());
    }
    if random.is_one_in(2) {
        told.iter().for_each(|part| heard.union(part.context()));
    }
    Register::from_parts(versions, heard, settled)
}

/// True if a register has this, at its path or at a copy's name.
fn has(register: &Register, version: &Version) -> bool {
    let is_it = |settled: &Settled| settled.copy.is_some() && settled.version.dot == version.dot;
    register.get(&version.dot).is_some() || register.settled().iter().any(is_it)
}

/// What three users know of one path who act there and at its copies, and hear of each other now and then; and all that
/// any of them ever knew.
fn history(seed: u64, random: &mut Random) -> ([Tree; 3], Vec<Register>) {
    let mut trees: [Tree; 3] = std::array::from_fn(|_| attesting());
    let (mut counters, mut told) = ([0; 3], Vec::new());
    for _ in 0..random.below(24) {
        let device = random.below(3);
        if random.is_one_in(2) {
            let from = trees[random.below(3)].clone();
            from.iter().for_each(|(path, node)| _ = trees[device].merge(path, &node.register));
            continue;
        }
        let paths: Vec<SyncPath> = trees[device].iter().map(|(path, _)| path.clone()).collect();
        let is_at_f = paths.is_empty() || random.is_one_in(2);
        let at = if is_at_f { path("f") } else { paths[random.below(paths.len())].clone() };
        counters[device] += 1;
        let before = trees[device].project(&at).value;
        let value = match random.below(6) {
            0 => Value::ABSENT,
            1 => Value::Directory { mode: 0o755 },
            2 => text(&format!("again {}", random.below(2))),
            _ => text(&format!("{seed} {device} {}", counters[device])),
        };
        let is_touch = before.is_present() && random.is_one_in(4);
        let (value, changed) = if is_touch { (before.clone(), TOUCH) } else { (value, Changed::ALL) };
        let rank = Time { seconds: random.below(9) as i64, nanoseconds: 0 };
        let dot = dot(device as u8 + 1, counters[device]);
        trees[device].act(Act { path: at, before: before.content(), value, changed, rank, dot });
        told.extend(trees.iter().filter_map(|tree| Some(tree.get(&path("f"))?.register.clone())));
    }
    (trees, told)
}

/// True for bytes that are shown, as all know together, and of which nobody says that he had replaced them, or equal ones that he
/// need not have known to be others (docs/guarantees.md, H5).
fn stands(all: &Register, told: &[Register], version: &Version) -> bool {
    let hidden = crate::projection::hidden(&all.versions().iter().collect::<Vec<_>>(), all.settled());
    let all_told = || told.iter().flat_map(all_of);
    let is_settled_alone =
        || has(all, version) && all_told().all(|other| !Claims::of(other).had_heard_gone(&version.dot));
    let is_shown = all.get(&version.dot).is_some() && !hidden.contains(&version.dot);
    // A change of metadata goes with bytes that somebody has replaced (L5).
    let has_replaced = |other: &Version| {
        let replaced = Ranges::of(&other.replaced, &[]);
        other.value.content() != version.value.content()
            && version.replaced.iter().all(|dot| replaced.has(dot))
    };
    let has_replaced_equal = |other: &Version| {
        let is_earlier = other.dot.actor == version.dot.actor && other.dot.counter < version.dot.counter;
        let is_heard = is_earlier || Claims::of(version).had_heard_gone(&other.dot);
        other.changed.content && other.base == version.value.content() && !is_heard
    };
    (is_shown || is_settled_alone())
        && (version.changed.content || !all_of(all).any(has_replaced))
        && !all_told().any(has_replaced_equal)
}

/// Somebody tells three users, of what they wrote, whatever he likes. What stands, as all of them know together, he takes from
/// nobody.
#[test]
fn h5_no_choice_of_what_others_wrote_takes_from_anybody_what_stands() {
    let (mut n_lies, mut n_taken_in, mut n_at_stake) = (0, 0, 0);
    for seed in 0..3_000 {
        let mut random = Random(seed);
        let (trees, told) = history(seed, &mut random);
        let mut all = Register::default();
        told.iter().for_each(|part| all.merge(part));
        let owns = trees.iter().filter_map(|tree| Some(tree.get(&path("f"))?.into_owned().register));
        let owns: Vec<Register> = owns.collect();
        for own in owns.iter().flat_map(|own| [own; 8]) {
            n_lies += 1;
            let said = lie(&mut random, &told);
            let Ok(known) = after(own, said.clone()) else { continue };
            n_taken_in += 1;
            let bytes = own.versions().iter().filter(|version| version.value.content().is_bytes());
            for version in bytes.filter(|version| stands(&all, &told, version)) {
                n_at_stake += 1;
                assert!(has(&known, version), "seed {seed}: {version:?}\n{own:?}\nsaid {said:?}\n{all:?}");
            }
        }
    }
    assert!(n_taken_in > n_lies / 20, "{n_taken_in} of {n_lies} were believed");
    assert!(n_at_stake > n_taken_in / 4, "{n_at_stake} versions in {n_taken_in}");
}
