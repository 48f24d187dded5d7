//! Measures one step: wall, and of each member CPU, peak memory and bytes on the wire.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::interrupt;
use crate::process::FineCpu;
use crate::world::World;

/// How often memory is looked at; new processes are looked for every fourth time.
const LOOKING: Duration = Duration::from_millis(25);

/// What a step took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// From its begin to its end.
    pub wall_s: f64,
    /// Of each member's processes.
    pub cpu_s: Vec<f64>,
    /// Of each member's processes.
    pub peak_bytes: Vec<u64>,
    /// From all members, headers included; none where it was not counted.
    pub wire_bytes: Option<u64>,
    /// Of single saves, each until it was visible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub saves_ms: Vec<f64>,
    /// Of the source's processes, for one of these saves, and what it did of itself in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save_cpu_s: Option<f64>,
    /// Of a peer at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
    /// What the source's peer keeps, after the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_bytes: Option<u64>,
}

/// What a peer at rest has and does.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Rest {
    /// In memory, of each member.
    pub resident_bytes: Vec<u64>,
    /// CPU of all members, a minute.
    pub cpu_s_a_minute: f64,
    /// Handed to write calls by all members, sockets included.
    pub written_bytes: u64,
}

/// Measures while `work` is done.
///
/// # Errors
/// Those of `work`.
pub fn measure(world: &World, work: impl FnOnce() -> Result<()>) -> Result<Figures> {
    for member in &world.members {
        member.crew.forget_peak();
    }
    let cpu_before: Vec<Duration> = world.members.iter().map(|member| member.crew.cpu()).collect();
    let wire_before = world.network.sent_bytes();
    let is_done = AtomicBool::new(false);
    let (outcome, wall) = std::thread::scope(|scope| {
        scope.spawn(|| look_until(world, &is_done));
        let start = Instant::now();
        let outcome = work();
        let wall = start.elapsed();
        is_done.store(true, Ordering::Relaxed);
        (outcome, wall)
    });
    outcome?;
    let cpu = world.members.iter().zip(cpu_before);
    let wire = world.network.sent_bytes().zip(wire_before);
    Ok(Figures {
        wall_s: wall.as_secs_f64(),
        cpu_s: cpu.map(|(member, before)| member.crew.cpu().saturating_sub(before).as_secs_f64()).collect(),
        peak_bytes: world.members.iter().map(|member| member.crew.peak_bytes()).collect(),
        wire_bytes: wire.map(|(after, before)| after.saturating_sub(before)),
        ..Figures::default()
    })
}

fn look_until(world: &World, is_done: &AtomicBool) {
    for round in 0_u64.. {
        let is_last = is_done.load(Ordering::Relaxed);
        for member in &world.members {
            member.crew.look(round % 4 == 0);
        }
        if is_last {
            return;
        }
        std::thread::sleep(LOOKING);
    }
}

/// Measures a peer that is left alone.
///
/// # Errors
/// When it is interrupted.
pub fn measure_rest(world: &World, period: Duration) -> Result<Rest> {
    let cpu = || world.members.iter().map(|member| member.crew.fine_cpu()).collect::<Vec<FineCpu>>();
    let written = || world.members.iter().map(|member| member.crew.written_bytes()).sum::<u64>();
    let (cpu_before, written_before) = (cpu(), written());
    interrupt::sleep(period)?;
    let cpu = cpu().into_iter().zip(&cpu_before).map(|(now, before)| now.since(before));
    let used = cpu.sum::<Duration>().as_secs_f64();
    Ok(Rest {
        resident_bytes: world.members.iter().map(|member| member.crew.resident_bytes()).collect(),
        cpu_s_a_minute: used * 60.0 / period.as_secs_f64(),
        written_bytes: written().saturating_sub(written_before),
    })
}
