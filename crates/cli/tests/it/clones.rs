//! A cloned machine (C5): home and root were copied, and both run at once, with one key and one memory.
//!
//! The copy lies elsewhere and is mounted over the original's directory in a mount namespace of its own, as the same
//! paths are on another machine.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::device::{Device, text};
use crate::user::User;
use crate::world::is_root_or_skips;
use crate::world::{FEBRUARY, JANUARY, MARCH, PATIENCE, equal, eventually, settle, sharing};

/// A copy of a device, whose server runs beside the original's.
struct Clone {
    base: tempfile::TempDir,
    server: Option<Child>,
}

impl Clone {
    /// Copies a device whose server was stopped, and starts the copy's server.
    fn of(device: &Device) -> Clone {
        let base = crate::device::new_base();
        let original = device.beside(".");
        let copied = Command::new("cp").arg("-a").args([&original, &base.path().to_owned()]).status();
        assert!(copied.is_ok_and(|status| status.success()), "cp(1) copies {}", original.display());
        let script = "mount --bind \"$1\" \"$2\" && cd \"$2\" && shift 2 && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(base.path()).arg(&original);
        command.arg(env!("CARGO_BIN_EXE_file-sync")).args(["server", "--no-discovery", "--no-web"]);
        command.args(["--name", &device.name, "--listen", "127.0.0.1:0"]);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("FILE_SYNC_HOME", device.home()).stdin(Stdio::null()).stdout(Stdio::null());
        let log = std::fs::File::create(base.path().join("clone-log")).expect("a log");
        let server = Some(command.stderr(log).spawn().expect("unshare(1) starts"));
        let clone = Clone { base, server };
        eventually(PATIENCE, || clone.status().ok_or("the clone does not run"));
        clone
    }

    fn status(&self) -> Option<Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_file-sync"));
        let home: PathBuf = self.base.path().join("home");
        let output = command.args(["status", "--json"]).env("FILE_SYNC_HOME", home).output();
        let output = output.expect("the command starts");
        output.status.success().then(|| serde_json::from_str(&text(&output.stdout)).expect("a document"))
    }

    fn user(&self) -> User {
        User::new(self.base.path().join("docs"), self.base.path().to_owned())
    }

    fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("a child can be killed");
            server.wait().expect("a child can be waited for");
        }
    }
}

impl Drop for Clone {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn c5_a_clone_that_runs_beside_its_original_takes_nothing_from_it() {
    if !is_root_or_skips("a clone") {
        return;
    }
    let (alpha, mut beta) = sharing();
    for name in ["f", "g", "h"] {
        alpha.user().write(name, "before", JANUARY);
    }
    settle(&[&alpha, &beta]);
    beta.stop();
    let mut clone = Clone::of(&beta);
    beta.begin();
    // Both number what they write alike, and each is now and then the one that alpha talks to.
    for round in 0..4 {
        for index in 0..3 {
            beta.user().write(format!("original-{round}-{index}"), format!("{round}"), FEBRUARY + round);
            clone.user().write(format!("clone-{round}-{index}"), format!("{round}"), FEBRUARY + round);
        }
        beta.user().write("f", format!("original {round}"), MARCH + round);
        clone.user().write("g", format!("clone {round}"), MARCH + round);
        // Whoever of the two is connected; the other waits in vain.
        let _ = alpha.run(["sync", "wait", "--timeout", "3s"]);
    }
    clone.kill();
    alpha.user().write("h", "by alpha", MARCH);
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    for device in [&alpha, &beta] {
        for round in 0..4 {
            for index in 0..3 {
                assert_eq!(
                    device.user().read(format!("original-{round}-{index}")),
                    format!("{round}").as_bytes()
                );
            }
        }
        assert_eq!(device.user().read("f"), b"original 3");
        assert_eq!(device.user().read("h"), b"by alpha");
    }
    let n_of_clone = (0..4).flat_map(|round| (0..3).map(move |index| format!("clone-{round}-{index}")));
    let n_of_clone = n_of_clone.filter(|name| alpha.user().has(name)).count();
    println!(
        "of what the clone's user wrote, {n_of_clone} of 12 files came to the others before it was killed"
    );
}
