//! Promise S4, and S5: the outcome follows from what users did and had seen, and from nothing else.
//!
//! Members start equal, are cut off from each other, and their users do what a seed says. Then all meet: along other
//! links, in another order, with other delays, with clocks decades apart, after restarts, and without having been told
//! of any change. However they meet, the trees are the same.

use std::time::Instant;

use file_sync_sim::{Machine, Options, Random, Scene, Script, Step, Topology, Verb, run_script};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const SECOND_US: u64 = 1_000_000;

/// How the members meet.
#[derive(Clone, Debug, Default)]
struct Meeting {
    topology: Option<Topology>,
    /// Links come up in reverse order, seconds apart.
    is_reversed: bool,
    is_slow: bool,
    are_clocks_off: bool,
    are_restarted: bool,
    /// The watcher says nothing at all.
    is_untold: bool,
}

fn meetings() -> Vec<Meeting> {
    let plain = Meeting::default();
    let of = |topology| Meeting { topology: Some(topology), ..Meeting::default() };
    vec![
        plain.clone(),
        of(Topology::Line),
        of(Topology::Star),
        Meeting { is_reversed: true, ..of(Topology::Ring) },
        Meeting { is_reversed: true, is_slow: true, ..plain.clone() },
        Meeting { are_clocks_off: true, ..plain.clone() },
        Meeting { are_restarted: true, ..of(Topology::Line) },
        Meeting { is_untold: true, ..plain },
    ]
}

fn path(random: &mut Random) -> String {
    let depth = 1 + random.below(2);
    let names: Vec<&str> = (0..depth).map(|_| NAMES[random.below(4) as usize]).collect();
    names.join("/")
}

/// A write with a time of its own, so that it has the same rank whenever it happens.
fn write(random: &mut Random, device: usize, token: u64) -> Vec<Step> {
    let (at, bytes) = (path(random), format!("t{token}"));
    let seconds = 1_000_000_000 + random.below(200_000_000) as i64;
    let verbs = [Verb::Write { at: at.clone(), bytes }, Verb::Touch { at, seconds }];
    verbs.map(|verb| Step::Device(device, verb)).to_vec()
}

fn acts(random: &mut Random, device: usize, n_acts: u64, token: &mut u64) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..n_acts {
        *token += 1;
        let step = |verb| vec![Step::Device(device, verb)];
        steps.extend(match random.below(10) {
            0..5 => write(random, device, *token),
            5..7 => step(Verb::Remove { at: path(random) }),
            7..9 => step(Verb::Move { from: path(random), to: path(random) }),
            _ => step(Verb::MakeDirectory { at: path(random) }),
        });
        steps.push(Step::Wait(3 * SECOND_US)); // So that each is found alone, if it is told.
    }
    steps
}

fn script(seed: u64, meeting: &Meeting) -> Script {
    let mut random = Random::new(seed ^ 0x0e7a);
    let n_devices = 2 + random.below(3) as usize;
    let all = Topology::Mesh.links(n_devices);
    let mut token = 0;
    let mut steps = acts(&mut random, 0, 5, &mut token);
    steps.push(Step::Rest);
    steps.extend(all.iter().map(|(one, two)| Step::Cut(*one, *two)));
    steps.push(Step::Wait(SECOND_US));
    for device in 0..n_devices {
        let n_acts = 1 + random.below(5);
        steps.extend(acts(&mut random, device, n_acts, &mut token));
    }
    let each = |verb: Verb| (0..n_devices).map(move |device| Step::Device(device, verb.clone()));
    if meeting.is_untold {
        steps.extend(each(Verb::Scan {}));
    }
    steps.push(Step::Wait(20 * SECOND_US));
    if meeting.are_restarted {
        steps.extend(each(Verb::Crash { down_us: SECOND_US }));
        steps.push(Step::Wait(5 * SECOND_US));
    }
    let mut links = meeting.topology.map_or(all, |topology| topology.links(n_devices));
    if meeting.is_reversed {
        links.reverse();
    }
    for (one, two) in &links {
        steps.push(Step::Link(*one, *two));
        if meeting.is_reversed {
            steps.push(Step::Wait(5 * SECOND_US));
        }
    }
    steps.push(Step::Rest);
    let mut options =
        Options { lost_hints_percent: if meeting.is_untold { 100 } else { 0 }, ..Options::default() };
    if meeting.is_slow {
        (options.work_us_max, options.link_us_max) = (30_000, 300_000);
    }
    let machine = |device: usize| Machine {
        clock_seconds: if meeting.are_clocks_off { [-300_000_000, 900_000_000, 0, 7][device] } else { 0 },
        ..Machine::plain()
    };
    let machines = (0..n_devices).map(machine).collect();
    // The scene's links are those of the meeting, so that a rest brings up no others.
    Script { scene: Scene { seed, machines, links, only_author: None, options }, steps }
}

#[test]
fn s4_s5_however_members_meet_the_outcome_is_the_same() {
    let is_full = std::env::var("EVIDENCE").is_ok_and(|size| size == "full");
    let n_seeds = if is_full { 5_000 } else { 150 };
    let begun = Instant::now();
    let mut n_runs = 0;
    for seed in 0..n_seeds {
        let mut first: Option<(Meeting, Vec<String>)> = None;
        for meeting in meetings() {
            let script = script(seed, &meeting);
            let report = run_script(&script);
            n_runs += 1;
            assert_eq!(report.failures, Vec::<String>::new(), "seed {seed}, {meeting:?}:\n{script}");
            let shown = report.shown[0].clone();
            match &first {
                None => first = Some((meeting, shown)),
                Some((other, expected)) => {
                    assert_eq!(&shown, expected, "seed {seed}: {meeting:?} against {other:?}:\n{script}");
                }
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{n_seeds} sets of acts, met in {} ways each: the same trees", meetings().len());
    println!(
        "evidence: {{\"part\":\"simulator\",\"what\":\"metamorphic\",\"figures\":{{\"sets of acts\":{n_seeds},\
         \"runs\":{n_runs}}},\"bad\":{{\"other outcomes\":0}},\"seconds\":{seconds:.1}}}"
    );
}
