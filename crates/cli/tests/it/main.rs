//! End-to-end tests: the built binary, real servers on loopback, real files.

mod attacker;
#[path = "../../../disk/tests/it/canary.rs"]
#[expect(clippy::unwrap_used, dead_code, reason = "it is shared with the tests of the disk")]
mod canary;
mod chaos;
mod clones;
mod commands;
mod conflicts;
mod device;
mod doctor;
mod echo;
mod elsewhere;
mod enemy;
mod enemy_history;
mod evidence;
mod forgetting;
mod holds;
mod homes;
mod hostile;
mod ignored;
mod kinds;
mod log;
mod modes;
mod names;
mod powercut;
mod preview;
mod promises;
mod random;
mod real;
mod refusals;
mod restarts;
mod restores;
mod roots;
mod rows;
mod strace;
mod strangers;
mod sweep;
mod topology;
mod tree;
mod trouble;
mod usage;
mod user;
mod verify;
mod versions;
mod waits;
mod world;
