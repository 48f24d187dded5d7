//! The command line's grammar, and where the home is. Values that no command could take are refused here, as usage.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use file_sync_server::api::command::Keep;
use file_sync_server::api::names::{DirectoryName, RemoteName};
use file_sync_server::api::types::Mode;
use file_sync_server::config::KeptMax;

use crate::duration::{parse_expiry, parse_moment, parse_timeout};
use crate::failure::Failure;

/// Keeps directories equal on several machines, continuously.
#[derive(Debug, Parser)]
#[command(name = "file-sync", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 a wait ran out of time, \
                        4 no server is running for this home.")]
pub struct Arguments {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Where the server keeps everything: identity, databases, control socket. Default: $FILE_SYNC_HOME, else
    /// $XDG_DATA_HOME/file-sync, else ~/.local/share/file-sync
    #[arg(long, global = true, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Say less on stderr
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more on stderr; twice: everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the server of this home, in the foreground, until SIGINT, SIGTERM or, unless it is ignored, SIGHUP
    Server(Server),
    /// Directories offered to remotes
    #[command(subcommand)]
    File(FileVerb),
    /// Other devices that this one is paired with
    #[command(subcommand)]
    Remote(RemoteVerb),
    /// Directories joined, which remotes offer
    #[command(subcommand)]
    Sync(SyncVerb),
    /// Show this device, its remotes and its directories
    Status {
        /// Go on showing it until interrupted
        #[arg(long)]
        watch: bool,
    },
    /// List conflict copies, each with the path it belongs to
    Conflicts {
        /// The directory's name, or where it is; a name wins over a path. Without it, all
        #[arg(value_name = "DIR|NAME")]
        target: Option<PathBuf>,
        /// Show how each copy differs from what is at its path, where both are text
        #[arg(long)]
        diff: bool,
    },
    /// Resolve a conflict: one side stays and the other is kept among the versions, or both stay under names of their own
    Resolve {
        /// The path that is in conflict, or one of its copies
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// `this`: what is at PATH; `other`: the other side; `both`
        #[arg(long, value_enum)]
        keep: KeepArgument,
    },
    /// List the versions kept of a path, also of one that is gone; of a directory, of all that was in it
    ///
    /// What file-sync has replaced or deleted on this device is kept here. What you yourself have replaced or deleted here
    /// is kept by the other members, where that arrived: those that are connected are asked, and KEPT BY names them. Each
    /// tells of what it has kept since this device became a member, 30 days at most; where that was before file-sync could
    /// ask others, since the first start of a version that can. Who could not be asked, or has not told all, is named on
    /// stderr.
    History {
        /// A path in an offered or synced directory
        #[arg(value_name = "PATH")]
        path: PathBuf,
    },
    /// Bring a kept version back as a new change; of a directory, all that was deleted in it
    ///
    /// What only remotes keep is fetched from them, and counts once its bytes are those of that version; while they are not
    /// connected it cannot be brought back. If it does not come, nothing is changed; of a directory, the rest is brought
    /// back, and the exit code is 1. What is at PATH now is kept in its turn.
    Restore {
        /// A path in an offered or synced directory
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// Which version, as `history` lists it; its first characters do [default: the newest]
        #[arg(long, value_name = "ID", conflicts_with = "at")]
        version: Option<String>,
        /// As it was then, as in 2026-03-01T12:00:00Z, or so long ago, as in 2h
        #[arg(long, value_name = "TIME", value_parser = parse_moment)]
        at: Option<i64>,
        /// Write it to this new file instead
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Read every byte again, and say whether disk, index and remotes agree
    ///
    /// First what was done before is waited for, as `sync wait` does; then all files are read from the disk and compared
    /// with what is recorded. A file with other bytes that nobody changed is damaged: it is listed, not sent to others, and
    /// replaced as soon as another copy here, a kept version or a remote has its bytes; what was there is kept. Exit 0 if
    /// all agree, 3 if only the wait ran out of time. Only this device's disk is read: run it on each.
    Verify {
        /// The directory's name, or where it is; a name wins over a path. Without it, all
        #[arg(value_name = "DIR|NAME")]
        target: Option<PathBuf>,
        /// Wait this long for remotes before the reading, as in 90, 30s, 5m
        #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_timeout)]
        timeout: Duration,
    },
    /// Say of a path why it is as it is: what disk, index and versions say, and what follows
    ///
    /// A file of at most 64 MiB that is said to be as it should is read again: if it has rotted, it is healed as by `verify`.
    Why {
        /// A path in an offered or synced directory
        #[arg(value_name = "PATH")]
        path: PathBuf,
    },
    /// List what was done to the bytes at a path, the newest first: when, why, and on whose word
    ///
    /// The list is only ever added to, and says of each change, replacement, removal and rename the hash of what was there
    /// before and after. Of a directory, it has all that is below it. What you have moved away is there with its new
    /// path. A file that is new does nothing to anybody's bytes, and
    /// is not in it; neither are changes of mode and time alone. A path at which nothing is or ever was is refused.
    Log {
        /// A path in an offered or synced directory
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// The most to list
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
    },
    /// Look whether this machine is set up as it should be, and say what mends what is not
    ///
    /// Home and its permissions, databases, clock, the kernel's limits, the network, and of each directory its marker, file
    /// system and room; of a server that runs also what it cannot watch, and what mends each path that is in trouble. It
    /// changes nothing, and needs no server to run. Exit 0 if nothing is a problem; warnings are none.
    Doctor {
        /// Where a server would listen for remotes, if none is running
        #[arg(long, value_name = "IP:PORT", default_value = LISTEN)]
        listen: SocketAddr,
    },
    /// Show how it works: two servers in temporary homes, a few changes on both sides, both trees compared
    Demo {
        /// Leave the servers running and the files in place, to play with
        #[arg(long)]
        keep: bool,
    },
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    Man {
        /// Into this directory, one file a command; without it, all to stdout
        directory: Option<PathBuf>,
    },
}

/// Where a server listens for remotes if it is not told.
const LISTEN: &str = "0.0.0.0:22067";

/// `server`.
#[derive(Debug, Args)]
pub struct Server {
    /// Where to listen for remotes
    #[arg(long, value_name = "IP:PORT", default_value = LISTEN)]
    pub listen: SocketAddr,
    /// Where to serve the web page (accepted; the page comes in a later version)
    #[arg(long, value_name = "IP:PORT", conflicts_with = "no_web")]
    pub web: Option<SocketAddr>,
    /// Serve no web page (accepted; the page comes in a later version)
    #[arg(long)]
    pub no_web: bool,
    /// Contact nothing but the remotes it was told of (accepted; discovery comes in a later version)
    #[arg(long)]
    pub no_discovery: bool,
    /// What this device is called, from now on [default: as before, and at first the host's name]
    #[arg(long, value_name = "DEVICE")]
    pub name: Option<RemoteName>,
    /// How much memory what remotes announce may take, as 512M or 4G [default: half of this machine's, at least 1G]
    #[arg(long, value_name = "SIZE", value_parser = crate::size::parse_size)]
    pub announced_max: Option<u64>,
    /// How much room the kept versions of each directory may take: a share of its file system, or a size
    ///
    /// What is over it goes within the hour: first what there is a newer version of, then the oldest, and what is younger than a
    /// day last, which `status` tells.
    #[arg(long, value_name = "PERCENT|SIZE", default_value = "10%", value_parser = crate::size::parse_kept_max)]
    pub kept_max: KeptMax,
    /// How much may go to all remotes together each second, as 512K or 10M; at least 16K [default: no limit]
    ///
    /// Of contents; the messages that say what there is come to little beside them.
    #[arg(long, value_name = "SIZE", value_parser = crate::size::parse_rate)]
    pub upload_max: Option<NonZeroU64>,
    /// How much may come from all remotes together each second, likewise
    #[arg(long, value_name = "SIZE", value_parser = crate::size::parse_rate)]
    pub download_max: Option<NonZeroU64>,
    /// Let walking and hashing give way to everything else on the machine
    ///
    /// They take what processor time nobody else wants (nice 19), and of the disk what is left, where its scheduler looks at
    /// priorities. What remotes are sent and what is put on the disk is not slowed down.
    #[arg(long)]
    pub low_priority: bool,
    /// On trial: take from remotes only what its authors bear witness to
    ///
    /// All members have to run so. Without it a member that may write can have versions of others taken for gone without signing
    /// that. With it, an entry that takes something for gone is refused, and listed by `status`, unless somebody who had
    /// heard so has signed that. In rare histories that is so of what is true: the file stays as it is here, and is in step
    /// again once somebody writes to it.
    #[arg(long)]
    pub strict: bool,
}

/// `file`.
#[derive(Debug, Subcommand)]
pub enum FileVerb {
    /// Offer a directory to the paired remotes
    Up {
        /// The directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The name that others join it by [default: the directory's own]
        #[arg(long)]
        name: Option<DirectoryName>,
        /// Offer it to this remote only; may be given several times
        #[arg(long, value_name = "REMOTE")]
        to: Vec<RemoteName>,
        /// The others receive; their changes are never accepted
        #[arg(long)]
        read_only: bool,
    },
    /// Stop offering a directory; every file stays
    ///
    /// This device stays a member of it: the others go on without it and wait for it, so that they forget nothing that was
    /// deleted, until it is offered here again, or one of them says `remote rm --lost` of this device.
    Down {
        /// Which directory
        #[command(flatten)]
        target: TargetArgument,
    },
    /// List what is offered
    Ls,
}

/// `remote`.
#[derive(Debug, Subcommand)]
pub enum RemoteVerb {
    /// Print a ticket that another device can pair with, once
    Invite {
        /// How long the ticket is good for, as in 90s, 10m, 1h
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_expiry)]
        expires: Duration,
    },
    /// Pair with the device that made a ticket
    Add {
        /// What to call that device here
        name: RemoteName,
        /// The ticket that it printed
        ticket: String,
    },
    /// Forget a device: nothing more goes to it or is taken from it; files stay
    Rm {
        /// Which device; with --lost also one that was removed before, by the name that it had or its id
        name: RemoteName,
        /// It will not come back: nothing waits for it any more, and it is no member of any directory, whoever offers it
        #[arg(long)]
        lost: bool,
    },
    /// List the paired devices
    Ls,
}

/// `sync`.
#[derive(Debug, Subcommand)]
pub enum SyncVerb {
    /// Join a directory that a remote offers and keep it here
    Up {
        /// The remote, and its name for the directory
        #[arg(value_name = "REMOTE:NAME")]
        source: RemoteDirectory,
        /// Where to keep it; made if missing. Files that are there already are merged; those that are equal in bytes take
        /// the remote's modes and times, as a rule
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Which way changes go
        #[arg(long, value_enum, default_value_t = ModeArgument::TwoWay)]
        mode: ModeArgument,
        /// Say what the first merge would do, file by file, and change nothing
        ///
        /// What an ignore file says that only the remote has is not known yet. DIR is read as a join would read it, which
        /// takes its time. Where something could not be read, on either side, it is not in the figures, and the exit
        /// code is 1.
        #[arg(long)]
        dry_run: bool,
    },
    /// Leave a joined directory; every file stays
    Down {
        /// Which directory
        #[command(flatten)]
        target: TargetArgument,
    },
    /// List what is joined, and what connected remotes offer
    ///
    /// Connected members that take no part in a directory at present, as it is paused or taken down there, are named.
    Ls,
    /// Stop a directory, both ways, until resumed
    Pause {
        /// Which directory
        #[command(flatten)]
        target: TargetArgument,
    },
    /// Go on with a paused directory
    Resume {
        /// Which directory
        #[command(flatten)]
        target: TargetArgument,
    },
    /// List the files whose deletion is held
    Held {
        /// The directory's name, or where it is; a name wins over a path. Without it, all
        #[arg(value_name = "DIR|NAME")]
        target: Option<PathBuf>,
    },
    /// Say how many deletions at once are held, or set it; the others are asked for nothing
    ///
    /// What exceeds both numbers within ten minutes is held. What is held already waits for its answer all the same, and
    /// after a restart of the server what is deleted until then waits with it.
    Hold {
        /// Which directory
        #[command(flatten)]
        target: TargetArgument,
        /// More than so many files and symlinks [at first: 100]
        #[arg(long, value_name = "N")]
        files: Option<u64>,
        /// More than so many of a hundred of those there are [at first: 50]
        #[arg(long, value_name = "0..100", value_parser = clap::value_parser!(u64).range(0..=100))]
        percent: Option<u64>,
        /// Hold nothing: every deletion goes through at once
        #[arg(long, conflicts_with_all = ["files", "percent", "default"])]
        never: bool,
        /// As at first
        #[arg(long, conflicts_with_all = ["files", "percent"])]
        default: bool,
    },
    /// Let deletions through that are held
    ///
    /// Many deletions at once are held: more than 100 within ten minutes, by this device's user or by others, after which
    /// fewer than half of the files would be left (`sync hold` sets both numbers). Nothing is told to others and nothing is
    /// deleted here until `approve` or `reject`; `sync held` lists them. Each member asks on its own. `approve` also accepts
    /// a directory whose marker `.file-sync/marker` was lost: what is missing in it is then fetched again, and nothing is
    /// deleted.
    Approve {
        /// Which directory
        #[command(flatten)]
        target: TargetArgument,
    },
    /// Bring back the files whose deletion is held
    ///
    /// What is gone here is fetched from the others; what others have deleted stays, and is sent to them anew.
    Reject {
        /// Which directory
        #[command(flatten)]
        target: TargetArgument,
    },
    /// Wait until every change made before is here and at every connected remote
    Wait {
        /// The directory's name, or where it is; a name wins over a path. Without it, all
        #[arg(value_name = "DIR|NAME")]
        target: Option<PathBuf>,
        /// Give up after this, as in 90, 30s, 5m (exit 3)
        #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_timeout)]
        timeout: Duration,
    },
}

/// `DIR|NAME`.
#[derive(Debug, Args)]
pub struct TargetArgument {
    /// The directory's name, or where it is; a name wins over a path
    #[arg(value_name = "DIR|NAME")]
    pub target: PathBuf,
}

/// `REMOTE:NAME`.
#[derive(Debug, Clone)]
pub struct RemoteDirectory {
    /// Who offers it.
    pub remote: RemoteName,
    /// By which name; it may contain colons.
    pub name: DirectoryName,
}

impl FromStr for RemoteDirectory {
    type Err = String;

    fn from_str(text: &str) -> Result<RemoteDirectory, String> {
        let (remote, name) = text.split_once(':').ok_or("expected REMOTE:NAME")?;
        let remote = remote.parse().map_err(|error| format!("REMOTE: {error}"))?;
        let name = name.parse().map_err(|error| format!("NAME: {error}"))?;
        Ok(RemoteDirectory { remote, name })
    }
}

/// `--mode`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ModeArgument {
    /// Changes go both ways
    TwoWay,
    /// Changes made here stay here
    ReceiveOnly,
    /// Changes made elsewhere are not taken
    SendOnly,
}

/// `--keep`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum KeepArgument {
    /// What is at PATH stays
    This,
    /// The other side takes its place
    Other,
    /// Both stay; the copies get names of their own
    Both,
}

impl From<KeepArgument> for Keep {
    fn from(argument: KeepArgument) -> Keep {
        match argument {
            KeepArgument::This => Keep::This,
            KeepArgument::Other => Keep::Other,
            KeepArgument::Both => Keep::Both,
        }
    }
}

impl From<ModeArgument> for Mode {
    fn from(argument: ModeArgument) -> Mode {
        match argument {
            ModeArgument::TwoWay => Mode::TwoWay,
            ModeArgument::ReceiveOnly => Mode::ReceiveOnly,
            ModeArgument::SendOnly => Mode::SendOnly,
        }
    }
}

impl Global {
    /// The home, absolute.
    ///
    /// # Errors
    /// When neither option nor environment says where it is, or the working directory is gone.
    pub fn home(&self) -> Result<PathBuf, Failure> {
        let home = match &self.home {
            Some(home) => home.clone(),
            None => default_home(|name| std::env::var_os(name)).ok_or_else(|| {
                Failure::refused("cannot tell where the home is: $HOME is not set; give --home DIR")
            })?,
        };
        absolute(&home)
    }
}

/// `path`, made absolute from the working directory, symlinks left as they are.
///
/// # Errors
/// When the working directory is gone.
pub fn absolute(path: &std::path::Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::refused(format!("{}: {error}; give an absolute path", path.display())))
}

/// Variables that are set to nothing count as not set, and `XDG_DATA_HOME` only when it is absolute, as its
/// specification says.
fn default_home(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let directory = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    directory("FILE_SYNC_HOME")
        .or_else(|| {
            directory("XDG_DATA_HOME").filter(|path| path.is_absolute()).map(|path| path.join("file-sync"))
        })
        .or_else(|| directory("HOME").map(|path| path.join(".local/share/file-sync")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_home_is_found_in_order() {
        let check = |variables: &[(&str, &str)], home: Option<&str>| {
            let lookup =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
            assert_eq!(default_home(lookup), home.map(PathBuf::from), "{variables:?}");
        };
        check(&[("FILE_SYNC_HOME", "/f"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")], Some("/f"));
        check(&[("FILE_SYNC_HOME", ""), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")], Some("/x/file-sync"));
        check(&[("XDG_DATA_HOME", "x"), ("HOME", "/h")], Some("/h/.local/share/file-sync"));
        check(&[], None);
    }

    #[test]
    fn a_remote_s_directory_is_split_at_the_first_colon() {
        let parsed: RemoteDirectory = "laptop:my: docs".parse().expect("well formed");
        assert_eq!((parsed.remote.as_str(), parsed.name.as_str()), ("laptop", "my: docs"));
        for bad in ["", ":", "a:", ":b", "ab"] {
            assert!(bad.parse::<RemoteDirectory>().is_err(), "{bad:?}");
        }
    }
}
