//! What has been counted.

use std::collections::BTreeMap;

/// What happened in a world, or in many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events given to engines.
    pub n_events: u64,
    /// Everything that happened, work and messages included.
    pub n_happenings: u64,
    /// Engines dropped.
    pub n_crashes: u64,
    /// Of the crashes, those by power cut.
    pub n_power_cuts: u64,
    /// Files that a power cut brought back to older or no bytes.
    pub n_lost_bytes: u64,
    /// Links cut.
    pub n_cuts: u64,
    /// Links on which one direction went silent.
    pub n_stalls: u64,
    /// Users' acts.
    pub n_acts: u64,
    /// Writes into files that had been displaced.
    pub n_late_writes: u64,
    /// Deleted paths of which nothing is known any more, as all have followed.
    pub n_forgotten: u64,
    /// Messages that a cut or a crash swallowed.
    pub n_lost_messages: u64,
    /// Messages that came twice.
    pub n_doubled_messages: u64,
    /// Messages that overtook an earlier one.
    pub n_reordered_messages: u64,
    /// Hints of the watcher that were lost, or came as "events were lost".
    pub n_lost_hints: u64,
    /// Fetches that failed.
    pub n_failed_fetches: u64,
    /// Batches of changes that could not be made durable.
    pub n_failed_syncs: u64,
    /// Times that a disk was full.
    pub n_full_disks: u64,
    /// Times that a disk could only be read.
    pub n_read_only_disks: u64,
    /// Times that something could not be read: no permission.
    pub n_unreadable: u64,
    /// Times that something could be neither read nor changed: I/O errors.
    pub n_io_errors: u64,
    /// Times that another file system was mounted over a directory.
    pub n_mounts: u64,
    /// Times that a root was not there.
    pub n_lost_roots: u64,
    /// Steps, freezes and drifts of clocks.
    pub n_clock_faults: u64,
    /// Ops that met something else than expected.
    pub n_surprises: u64,
    /// Of those, how many could not put a user's bytes back at their name.
    pub n_rescues: u64,
    /// Homes restored from an older copy.
    pub n_restored_homes: u64,
    /// Whole machines put back to what they were.
    pub n_reverts: u64,
    /// Members that left, or lost their home, and joined again.
    pub n_rejoins: u64,
    /// Times that deletions were held until the end of the faults.
    pub n_holds: u64,
    /// Members that were away for a year.
    pub n_years_away: u64,
    /// Times that all were at rest, and what is there was compared with what ought to be.
    pub n_rests: u64,
    /// Ops by name.
    pub ops: BTreeMap<&'static str, u64>,
    /// Commits.
    pub n_commits: u64,
    /// Registers sent.
    pub n_entries: u64,
    /// Contents asked for.
    pub n_fetches: u64,
    /// Files hashed.
    pub n_hashes: u64,
    /// Looks at what an op left, for promises that hold at every moment.
    pub n_checks: u64,
}

impl Stats {
    /// Adds another world's counts, for a sum over seeds.
    pub fn add(&mut self, other: &Stats) {
        let mut other = other.clone();
        let sums = self.counts().into_iter().map(|(_, count)| count);
        sums.zip(other.counts()).for_each(|(sum, (_, count))| *sum += *count);
        for (name, count) in other.ops {
            *self.ops.entry(name).or_default() += count;
        }
    }

    /// All counts but those of ops, each with its name.
    pub fn counts(&mut self) -> Vec<(&'static str, &mut u64)> {
        vec![
            ("acts of users", &mut self.n_acts),
            ("events", &mut self.n_events),
            ("commits", &mut self.n_commits),
            ("entries sent", &mut self.n_entries),
            ("files hashed", &mut self.n_hashes),
            ("fetches", &mut self.n_fetches),
            ("failed fetches", &mut self.n_failed_fetches),
            ("ops that met something else", &mut self.n_surprises),
            ("files rescued", &mut self.n_rescues),
            ("late writes", &mut self.n_late_writes),
            ("deleted paths forgotten", &mut self.n_forgotten),
            ("crashes", &mut self.n_crashes),
            ("power cuts", &mut self.n_power_cuts),
            ("files fallen back", &mut self.n_lost_bytes),
            ("links cut", &mut self.n_cuts),
            ("links silent one way", &mut self.n_stalls),
            ("messages lost", &mut self.n_lost_messages),
            ("messages doubled", &mut self.n_doubled_messages),
            ("messages reordered", &mut self.n_reordered_messages),
            ("hints lost", &mut self.n_lost_hints),
            ("failed syncs", &mut self.n_failed_syncs),
            ("disks full", &mut self.n_full_disks),
            ("disks read-only", &mut self.n_read_only_disks),
            ("permissions denied", &mut self.n_unreadable),
            ("I/O errors", &mut self.n_io_errors),
            ("mounts", &mut self.n_mounts),
            ("roots lost", &mut self.n_lost_roots),
            ("clocks wrong", &mut self.n_clock_faults),
            ("homes restored", &mut self.n_restored_homes),
            ("machines reverted", &mut self.n_reverts),
            ("members left and back", &mut self.n_rejoins),
            ("deletions held", &mut self.n_holds),
            ("members a year away", &mut self.n_years_away),
            ("rests checked", &mut self.n_rests),
            ("moments checked", &mut self.n_checks),
        ]
    }

    /// Ops of all kinds.
    pub fn n_ops(&self) -> u64 {
        self.ops.values().sum()
    }
}
