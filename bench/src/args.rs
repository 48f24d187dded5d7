//! The grammar of the command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Parser};

use crate::plan::Size;

/// Measures file-sync beside rsync, Unison, Syncthing and rclone: wall, CPU and memory of both sides, bytes on the
/// wire, size of the index; what came out is compared by hash.
///
/// As root every member has a network namespace of its own, made and deleted by this; without, all is on loopback and no
/// wire is counted. What is not installed is said to be so.
#[derive(Debug, Parser)]
#[command(group(ArgGroup::new("size").args(["quick", "full", "tiny"])))]
pub struct Args {
    /// Small sizes, a few minutes (the default)
    #[arg(long)]
    pub quick: bool,

    /// The sizes that the budgets are about, an hour or more
    #[arg(long)]
    pub full: bool,

    /// Hardly anything, seconds: whether the benchmark itself works
    #[arg(long)]
    pub tiny: bool,

    /// Only this scenario, this step, or this step of this scenario, as `large`, `insert`, `large/insert`; may be given
    /// several times
    #[arg(long, value_name = "WORKLOAD")]
    pub only: Vec<String>,

    /// Only these contenders, by name; may be given several times
    #[arg(long, value_name = "NAME")]
    pub with: Vec<String>,

    /// How many times everything is measured [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: Option<u32>,

    /// Another program in place of the installed one, as `syncthing=/opt/syncthing`; may be given several times
    #[arg(long, value_name = "NAME=PATH")]
    pub peer: Vec<PeerPath>,

    /// Where trees and homes lie; a real disk's directory measures durability too
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    pub dir: PathBuf,

    /// The real tree that is copied and then synced
    #[arg(long, value_name = "DIR", default_value = "/usr/include")]
    pub tree: PathBuf,

    /// Write all samples as one JSON document
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the page here and two plots beside it, as FILE with the endings `.svg` and `-growth.svg`
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,

    /// Make the page anew from samples that `--json` wrote before, and measure nothing
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

impl Args {
    /// The size that was asked for.
    pub fn size(&self) -> Size {
        match (self.full, self.tiny) {
            (true, _) => Size::Full,
            (_, true) => Size::Tiny,
            _ => Size::Quick,
        }
    }

    /// The program that stands for `name`: as given, else as found in `PATH` by the system.
    pub fn program(&self, name: &str) -> PathBuf {
        let given = self.peer.iter().find(|peer| peer.name == name);
        given.map_or_else(|| PathBuf::from(name), |peer| peer.path.clone())
    }
}

/// A program in place of the installed one.
#[derive(Clone, Debug)]
pub struct PeerPath {
    /// Which peer.
    pub name: String,
    /// Its program.
    pub path: PathBuf,
}

impl FromStr for PeerPath {
    type Err = String;

    fn from_str(text: &str) -> Result<PeerPath, String> {
        let (name, path) = text.split_once('=').ok_or("a peer is given as NAME=PATH")?;
        let path = std::path::absolute(path).map_err(|error| format!("{path}: {error}"))?;
        Ok(PeerPath { name: name.to_owned(), path })
    }
}
