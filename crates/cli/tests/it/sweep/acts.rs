//! The script of the sweep: what two users do in one round, so that the end of a round is the beginning of the next.
//!
//! Every act is also done to a third tree, the shadow, that no server knows: it is what has to be everywhere in the end.

use std::path::PathBuf;

use super::pair::Side;
use crate::user::{User, noise};
use crate::world::{FEBRUARY, JANUARY, MARCH};

/// Length of the large file, which is many chunks.
const LARGE_BYTES: usize = 400 << 10;

/// Two users and the shadow.
pub struct Acts {
    /// Does most of it.
    pub sender: User,
    /// Is on the other device.
    pub receiver: User,
    /// What has to come out.
    pub shadow: User,
    /// Where the shadow is.
    pub shadow_root: PathBuf,
    /// As conflict copies of the sender's versions carry it.
    pub sender_short_id: String,
}

impl Acts {
    /// What is there before the first round, made by the sender.
    pub fn prepare(&self) {
        self.sender(|user| {
            for name in ["doc", "log", "mode", "touched", "left", "right", "both", "name-0", "dir-0/x"] {
                user.write(name, format!("{name} at first"), JANUARY);
            }
            for name in ["dir-0/y/z", "gone/0", "tree-0/a", "tree-0/b/c", "live-0", "lived-0", "reply-0"] {
                user.write(name, format!("{name} at first"), JANUARY);
            }
            user.write("own", "own at first", JANUARY);
            user.write("large", large(0), JANUARY);
            user.link("doc", "link");
            user.write(self.copy(0), "a copy at first", JANUARY);
        });
    }

    /// The first half of a round: the server that will be struck does not run.
    pub fn before(&self, round: u64) {
        let last = round - 1;
        let mtime = FEBRUARY + i64::try_from(round).expect("few rounds");
        self.sender(|user| {
            user.write("doc", format!("doc in round {round}"), mtime);
            user.append("log", format!("\nround {round}"));
            user.touch("log", mtime);
            user.write(format!("gone/{round}"), format!("to go after round {round}"), mtime);
            user.remove(format!("gone/{last}"));
            user.rename(format!("name-{last}"), format!("name-{round}"));
            user.rename(format!("dir-{last}"), format!("dir-{round}"));
            user.chmod("mode", if round.is_multiple_of(2) { 0o644 } else { 0o600 });
            user.touch("touched", mtime);
            user.write("large", large(round), mtime);
            user.remove("link");
            user.link(format!("name-{round}"), "link");
            user.remove_all(format!("tree-{last}"));
            user.write(format!("tree-{round}/a"), format!("a in round {round}"), mtime);
            user.write(format!("tree-{round}/b/c"), format!("c in round {round}"), mtime);
            user.rename("left", "third");
            user.rename("right", "left");
            user.rename("third", "right");
            user.remove(self.copy(last));
        });
        self.conflict(round);
    }

    /// Both edit one file, and neither has heard of the other: one of the servers does not run.
    fn conflict(&self, round: u64) {
        let (lower, higher) = (format!("the sender's {round}"), format!("the receiver's {round}"));
        self.sender.write("both", &lower, stamp(round));
        self.receiver.write("both", &higher, MARCH);
        self.shadow.write("both", &higher, MARCH);
        self.shadow.write(self.copy(round), &lower, stamp(round));
    }

    /// The second half: both servers run, or one of them was struck already.
    pub fn while_running(&self, round: u64) {
        let last = round - 1;
        let mtime = MARCH + i64::try_from(round).expect("few rounds");
        self.sender(|user| {
            user.remove(format!("lived-{last}"));
            user.rename(format!("live-{last}"), format!("lived-{round}"));
            user.write(format!("live-{round}"), format!("live in round {round}"), mtime);
        });
        self.receiver(|user| {
            user.write("own", format!("own in round {round}"), mtime);
            user.write(format!("reply-{round}"), format!("reply in round {round}"), mtime);
            user.remove(format!("reply-{last}"));
        });
    }

    /// What the user of the other device does while the struck server is down: twice, so that the second edit follows
    /// from one that the struck device has never heard of. Between them, `heard` lets the living server hear.
    pub fn while_down(&self, struck: Side, round: u64, heard: impl Fn()) {
        let mtime = MARCH + 1 + i64::try_from(round).expect("few rounds");
        for edit in ["edited", "edited again"] {
            match struck {
                Side::Receiver => {
                    self.sender(|user| user.write("doc", format!("doc in round {round}, {edit}"), mtime));
                }
                Side::Sender => {
                    self.receiver(|user| user.write("own", format!("own in round {round}, {edit}"), mtime));
                }
            }
            heard();
        }
    }

    fn sender(&self, act: impl Fn(&User)) {
        [&self.sender, &self.shadow].into_iter().for_each(act);
    }

    fn receiver(&self, act: impl Fn(&User)) {
        [&self.receiver, &self.shadow].into_iter().for_each(act);
    }

    /// The name of the conflict copy of a round.
    fn copy(&self, round: u64) -> String {
        let (hours, minutes, seconds) = (round / 3600, round / 60 % 60, round % 60);
        format!("both.sync-conflict-20200101-{hours:02}{minutes:02}{seconds:02}-{}", self.sender_short_id)
    }
}

/// The mtime of the sender's side of a round's conflict: older than the receiver's, and like no other's.
fn stamp(round: u64) -> i64 {
    assert!(round < 86_400, "the copies' names are of one day");
    JANUARY + i64::try_from(round).expect("few rounds")
}

/// Bytes of which each round changes a part in the middle.
fn large(round: u64) -> Vec<u8> {
    let mut bytes = noise(7, LARGE_BYTES);
    let start = LARGE_BYTES / 2;
    bytes[start..start + (60 << 10)].copy_from_slice(&noise(1_000 + round, 60 << 10));
    bytes
}
