//! A device of the end-to-end tests: a home, a root, and a real server that can be stopped, killed and frozen.
//!
//! Its base directory goes when it is dropped, and so does its server, which is ended by its own process id only.

#![expect(clippy::print_stderr, reason = "a test that fails shows what its servers logged")]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::fs::chown;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use file_sync_proxy::Island;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::user::User;
use crate::world::eventually;

/// A home with a server, and the directory `docs` beside it.
pub struct Device {
    /// Its `--name`, by which the other devices of a test know it.
    pub name: String,
    base: TempDir,
    port: u16,
    server: Option<Child>,
    id: String,
    user_id: Option<u32>,
    place: Place,
}

/// Where a server runs, if it is to be elsewhere than here.
#[derive(Default)]
pub struct Place {
    /// The network that it has.
    pub island: Option<Arc<Island>>,
    /// What its environment has besides.
    pub variables: Vec<(&'static str, OsString)>,
}

impl Device {
    /// Makes a device and starts its server.
    pub fn start(name: &str) -> Device {
        Device::start_as(name, None)
    }

    /// Makes a device whose server and commands run as this user id, which only root can do.
    pub fn start_as(name: &str, user_id: Option<u32>) -> Device {
        Device::start_at(name, new_base(), user_id, Place::default())
    }

    /// Makes a device whose home and root lie in a directory of the test, on that directory's file system.
    pub fn start_in(directory: &Path, name: &str, user_id: Option<u32>) -> Device {
        let base = tempfile::Builder::new().prefix("file-sync-it-").tempdir_in(directory);
        Device::start_at(name, base.expect("a temporary directory"), user_id, Place::default())
    }

    /// Makes a device in a directory, with its server at a place.
    pub fn start_at(name: &str, base: TempDir, user_id: Option<u32>, place: Place) -> Device {
        chown(base.path(), user_id, user_id).expect("root may give a directory away");
        let (name, port, id) = (name.to_owned(), free_port(), String::new());
        let mut device = Device { name, base, port, server: None, id, user_id, place };
        device.begin();
        device.know_id();
        device
    }

    /// Asks the server for the device's id, which is another one after the home was lost.
    pub fn know_id(&mut self) {
        self.id = self.status()["device"]["id"].as_str().expect("status names the device's id").to_owned();
    }

    /// Starts the server again and waits until it is ready.
    pub fn begin(&mut self) {
        self.begin_under(&[]);
        self.await_ready();
    }

    /// Waits until the server that was begun answers.
    pub fn await_ready(&mut self) {
        eventually(Duration::from_secs(60), || {
            let server = self.server.as_mut().expect("the server was just started");
            if let Some(exit) = server.try_wait().expect("a child can be asked") {
                panic!("the server of {} ended with {exit}: {}", self.name, self.log());
            }
            let output = self.run(["status"]);
            if output.status.success() { Ok(()) } else { Err(text(&output.stderr)) }
        });
    }

    /// Starts the server again as another program's command line ends, and does not wait. That program must become it
    /// by exec(2), so that it is the test's own child.
    pub fn begin_under(&mut self, wrapper: &[OsString]) {
        assert!(self.server.is_none(), "the server of {} runs already", self.name);
        self.server = Some(self.spawn(wrapper));
    }

    fn spawn(&self, wrapper: &[OsString]) -> Child {
        let log =
            File::options().create(true).append(true).open(self.base.path().join("log")).expect("a log");
        let mut command = self.command_under(wrapper);
        command.args(["server", "--no-discovery", "--no-web", "--name", &self.name]);
        command.arg("--listen").arg(self.address());
        command.envs(self.place.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let spawned = match &self.place.island {
            Some(island) => island.enter(|| command.spawn()).expect("root may enter an island"),
            None => command.spawn(),
        };
        spawned.expect("the server starts")
    }

    /// How the server ended, if it has, by itself or by somebody else's signal; it can then be begun again.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let exit = self.server.as_mut().expect("the server runs").try_wait().expect("a child can be asked");
        if exit.is_some() {
            self.server = None;
        }
        exit
    }

    /// Stops the server by SIGTERM, within the promised five seconds, and returns how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.stop_within(Duration::from_secs(6))
    }

    /// Stops the server by SIGTERM, and returns how it ended.
    pub fn stop_within(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        let mut server = self.server.take().expect("the server runs");
        eventually(limit, || match server.try_wait().expect("a child can be asked") {
            Some(exit) => Ok(exit),
            None => Err("still running after SIGTERM"),
        })
    }

    /// Kills the server by SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("the server runs");
        server.kill().expect("a child can be killed");
        let exit = server.wait().expect("a child can be waited for");
        assert_eq!(exit.signal(), Some(9), "the server of {} had ended: {}", self.name, self.log());
    }

    /// Stops the server's process (SIGSTOP), so that it is there and silent.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends a signal to the server.
    pub fn signal(&self, signal: Signal) {
        let server = self.server.as_ref().expect("the server runs");
        kill_process(Pid::from_child(server), signal).expect("a child can be signalled");
    }

    /// The server's process id.
    pub fn server_id(&self) -> u32 {
        self.server.as_ref().expect("the server runs").id()
    }

    /// Bytes that the server's process has handed to write calls, on files and sockets, since its start.
    pub fn written_bytes(&self) -> u64 {
        let path = format!("/proc/{}/io", self.server_id());
        let counters = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let line = counters.lines().find_map(|line| line.strip_prefix("wchar: "));
        line.and_then(|count| count.parse().ok()).expect("the kernel counts what was written")
    }

    /// Listens at another port from the next start on.
    pub fn move_house(&mut self) {
        self.port = free_port();
    }

    /// Where the server listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The home of its server.
    pub fn home(&self) -> PathBuf {
        self.base.path().join("home")
    }

    /// The directory that the tests keep equal.
    pub fn root(&self) -> PathBuf {
        self.base.path().join("docs")
    }

    /// A path beside home and root, on the same file system as both.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// The first seven characters of its id, as conflict copies carry them.
    pub fn short_id(&self) -> &str {
        &self.id[..7]
    }

    /// Its user, at the root.
    pub fn user(&self) -> User {
        User::new(self.root(), self.base.path().to_owned())
    }

    /// Its user, in a directory below the root.
    pub fn user_in(&self, directory: &str) -> User {
        User::new(self.root().join(directory), self.base.path().to_owned())
    }

    /// A command of its home, in an environment that nothing leaks into.
    pub fn command(&self) -> Command {
        self.command_under(&[])
    }

    fn command_under(&self, wrapper: &[OsString]) -> Command {
        let binary = OsString::from(env!("CARGO_BIN_EXE_file-sync"));
        let mut words = wrapper.iter().chain([&binary]);
        let mut command = Command::new(words.next().expect("the binary at least"));
        command.args(words);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("HOME", self.base.path())
            .env("FILE_SYNC_HOME", self.home())
            .current_dir(self.base.path());
        if let Some(id) = self.user_id {
            command.uid(id).gid(id);
        }
        command
    }

    /// Runs a command to its end.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        let mut command = self.command();
        command.args(args).stdin(Stdio::null());
        command.output().expect("the command starts")
    }

    /// Runs a server of another home or address that must refuse to start, and returns its output.
    ///
    /// It is killed, and the test fails, when it is still there after twenty seconds.
    pub fn refused_server(&self, home: &Path, address: &str) -> Output {
        let mut command = self.command();
        command.arg("--home").arg(home).args(["server", "--no-discovery", "--no-web", "--listen", address]);
        let mut server =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
        let start = std::time::Instant::now();
        while server.try_wait().expect("a child can be asked").is_none() {
            if start.elapsed() > Duration::from_secs(20) {
                server.kill().expect("a child can be killed");
                panic!("a server runs that should have been refused: {} at {address}", home.display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        server.wait_with_output().expect("a child's output")
    }

    /// Runs a command that must succeed, and returns its stdout.
    pub fn ok<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> String {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let output = self.run(&args);
        let code = output.status.code();
        assert_eq!(
            code,
            Some(0),
            "{}: {args:?}: {}{}",
            self.name,
            text(&output.stderr),
            self.state_for_report()
        );
        text(&output.stdout)
    }

    /// Runs a command with `--json` that must succeed, and returns its one document.
    pub fn json<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Value {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let stdout = self.ok(args.iter().map(AsRef::as_ref).chain([OsStr::new("--json")]));
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{args:?}: {error} in {stdout}"))
    }

    /// Runs a command that must fail with `code` and one line on stderr, nothing on stdout; returns the line.
    pub fn refused<A: AsRef<OsStr>>(&self, code: i32, args: impl IntoIterator<Item = A>) -> String {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let output = self.run(&args);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{}: {args:?}: {stdout}{stderr}", self.name);
        assert_eq!(stdout, "", "{args:?} was refused");
        assert_eq!(stderr.trim_end().lines().count(), 1, "one line says why {args:?} was refused: {stderr}");
        stderr
    }

    /// The document of `status --json`.
    pub fn status(&self) -> Value {
        self.json(["status"])
    }

    /// The only directory of `status --json`.
    pub fn directory(&self) -> Value {
        let status = self.status();
        let directories = status["directories"].as_array().expect("status lists directories");
        assert_eq!(directories.len(), 1, "{}: {status}", self.name);
        directories[0].clone()
    }

    /// The last lines that the server logged.
    pub fn log(&self) -> String {
        let log = self.whole_log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// All that the server logged, over all starts.
    pub fn whole_log(&self) -> String {
        text(&std::fs::read(self.base.path().join("log")).unwrap_or_default())
    }

    fn state_for_report(&self) -> String {
        let status = text(&self.run(["status", "--json"]).stdout);
        format!("\nstatus: {status}\nlog of {}:\n{}", self.name, self.log())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // A child that has ended cannot be killed, and there is nobody to tell.
            let _ = server.kill();
            let _ = server.wait();
        }
        if std::thread::panicking() {
            eprintln!("log of {}:\n{}", self.name, self.log());
        }
        // A directory of mode 0555 does not let a user who is not root empty it.
        let _ =
            Command::new("chmod").args(["-R", "u+rwx"]).arg(self.base.path()).stderr(Stdio::null()).status();
    }
}

/// An empty directory for a device, which goes with it.
pub fn new_base() -> TempDir {
    tempfile::Builder::new().prefix("file-sync-it-").tempdir().expect("a temporary directory")
}

/// Bytes that should be text, as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A port that is free now and that the kernel gives to nobody who does not ask for it, so that a stopped server can
/// have it again.
fn free_port() -> u16 {
    static N_TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let offset = std::process::id() * 61 + N_TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + u16::try_from(offset % 20_000).expect("a remainder of 20,000 fits");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
