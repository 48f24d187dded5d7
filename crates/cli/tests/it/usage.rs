//! The surface that needs no remote: exit codes, where output goes, help, the home's lock and socket, completions.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::device::{Device, text};

/// A command in an environment that nothing leaks into, without any home said.
fn bare(base: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_file-sync"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", base);
    command.current_dir(base).stdin(Stdio::null());
    command
}

fn base() -> TempDir {
    tempfile::Builder::new().prefix("file-sync-it-").tempdir().expect("a temporary directory")
}

fn run(args: &[&str]) -> Output {
    let base = base();
    bare(base.path()).args(args).output().expect("the command starts")
}

/// Every command line that asks a server.
const ASKING: [&[&str]; 15] = [
    &["status"],
    &["status", "--watch"],
    &["file", "up", "."],
    &["file", "down", "docs"],
    &["file", "ls"],
    &["remote", "invite"],
    &["remote", "add", "other", "ticket"],
    &["remote", "rm", "other"],
    &["remote", "ls"],
    &["sync", "up", "other:docs", "docs"],
    &["sync", "down", "docs"],
    &["sync", "ls"],
    &["sync", "pause", "docs"],
    &["sync", "resume", "docs"],
    &["sync", "wait", "--timeout", "1s"],
];

#[test]
fn without_a_server_every_command_exits_4_and_says_how_to_start_one() {
    for args in ASKING {
        for json in [&[][..], &["--json"]] {
            let output = run(&[args, json].concat());
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(4), "{args:?}: {stderr}");
            assert_eq!(text(&output.stdout), "", "{args:?}");
            assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
            assert!(stderr.starts_with("file-sync: no server is running for /"), "{args:?}: {stderr}");
            assert!(stderr.contains("file-sync server"), "{args:?}: {stderr}");
        }
    }
}

#[test]
fn asking_makes_no_home() {
    let base = base();
    let home = base.path().join("home");
    bare(base.path()).arg("--home").arg(&home).arg("status").output().expect("the command starts");
    assert!(!home.exists());
}

#[test]
fn wrong_usage_exits_2_and_prints_nothing_on_stdout() {
    let wrong: [&[&str]; 28] = [
        &[],
        &["nonsense"],
        &["file"],
        &["remote"],
        &["sync"],
        &["status", "extra"],
        &["status", "--nonsense"],
        &["status", "-q", "-v"],
        &["status", "--home", ""],
        &["file", "up"],
        &["file", "up", ""],
        &["file", "up", ".", "--name", ""],
        &["file", "up", ".", "--to", ""],
        &["file", "down"],
        &["remote", "invite", "--expires", "soon"],
        &["remote", "invite", "--expires", "0s"],
        &["remote", "add", "other"],
        &["remote", "add", "", "ticket"],
        &["remote", "add", "a:b", "ticket"],
        &["sync", "up", "other", "docs"],
        &["sync", "up", ":docs", "docs"],
        &["sync", "up", "other:", "docs"],
        &["sync", "up", "other:docs", "docs", "--mode", "sideways"],
        &["sync", "wait", "--timeout", "-1"],
        &["server", "--listen", "nowhere"],
        &["server", "--web", "127.0.0.1:1", "--no-web"],
        &["server", "--name", ""],
        &["completions", "nonsense"],
    ];
    for args in wrong {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn help_and_version_exit_0_on_stdout() {
    let commands: [&[&str]; 21] = [
        &[],
        &["server"],
        &["file"],
        &["file", "up"],
        &["file", "down"],
        &["file", "ls"],
        &["remote"],
        &["remote", "invite"],
        &["remote", "add"],
        &["remote", "rm"],
        &["remote", "ls"],
        &["sync"],
        &["sync", "up"],
        &["sync", "down"],
        &["sync", "ls"],
        &["sync", "pause"],
        &["sync", "resume"],
        &["sync", "wait"],
        &["status"],
        &["demo"],
        &["completions"],
    ];
    for args in commands {
        let output = run(&[args, &["--help"]].concat());
        let stdout = text(&output.stdout);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{args:?}");
        for option in ["--home", "--json", "--quiet", "--verbose"] {
            assert!(stdout.contains(option), "{args:?} takes {option}: {stdout}");
        }
    }
    assert_eq!(text(&run(&["--version"]).stdout), format!("file-sync {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_home_comes_from_option_environment_or_xdg() {
    let base = base();
    let named =
        |command: &mut Command| text(&command.arg("status").output().expect("the command starts").stderr);
    let check = |command: &mut Command, home: &str| {
        let stderr = named(command);
        let expected = format!("no server is running for {home};");
        assert!(stderr.contains(&expected), "{expected} in {stderr}");
    };
    let path = base.path().canonicalize().expect("it is there");
    let path = path.display();
    check(bare(base.path()).args(["--home", "/a"]).env("FILE_SYNC_HOME", "/b"), "/a");
    check(bare(base.path()).env("FILE_SYNC_HOME", "/b").env("XDG_DATA_HOME", "/c"), "/b");
    check(bare(base.path()).env("XDG_DATA_HOME", "/c"), "/c/file-sync");
    check(&mut bare(base.path()), &format!("{path}/.local/share/file-sync"));
    check(bare(base.path()).args(["--home", "relative"]), &format!("{path}/relative"));
}

#[test]
fn completions_and_manual_pages_are_there() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(text(&output.stdout).contains("invite"), "{shell}");
    }
    assert!(text(&run(&["man"]).stdout).contains(".TH file-sync-sync-wait"));
    let base = base();
    let output = bare(base.path()).args(["man", "pages"]).output().expect("the command starts");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    for page in ["file-sync.1", "file-sync-file-up.1", "file-sync-status.1"] {
        assert!(base.path().join("pages").join(page).is_file(), "{page}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let base = base();
    let mut child = bare(base.path())
        .arg("man")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let base = base();
    let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full is there");
    let output = bare(base.path()).arg("man").stdout(full).output().expect("the command starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).starts_with("file-sync: cannot write to stdout"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_socket_is_private_and_goes_with_a_clean_stop() {
    let mut device = Device::start("alpha");
    let socket = device.home().join("control.sock");
    assert_eq!(fs::symlink_metadata(&socket).expect("a socket").mode() & 0o777, 0o600);
    assert_eq!(device.stop().code(), Some(0));
    assert!(!socket.exists());
    device.refused(4, ["status"]);
}

#[test]
fn a_second_server_is_refused_with_the_first_ones_process() {
    let device = Device::start("alpha");
    let line = device.refused(1, ["server", "--listen", "127.0.0.1:0", "-q"]);
    assert!(line.contains(&format!("(process {})", device.server_id())), "{line}");
    device.ok(["status"]);
}

#[test]
fn c1_a_killed_server_leaves_nothing_in_the_way_of_the_next() {
    let mut device = Device::start("alpha");
    device.kill();
    assert!(device.home().join("control.sock").exists(), "SIGKILL leaves the socket");
    device.refused(4, ["status"]);
    device.begin();
}

#[test]
fn a_socket_that_nobody_ever_locked_is_replaced() {
    let mut device = Device::start("alpha");
    device.stop();
    drop(UnixListener::bind(device.home().join("control.sock")).expect("bound"));
    device.refused(4, ["status"]);
    device.begin();
}

#[test]
fn a_home_behind_a_long_path_or_a_link_works() {
    let mut device = Device::start("alpha");
    device.stop();
    let long = device.beside(&"l".repeat(120));
    fs::create_dir(&long).expect("made");
    symlink(device.home(), long.join("home")).expect("linked");
    device.begin();
    let output =
        device.command().arg("--home").arg(long.join("home")).arg("status").output().expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn the_api_answers_plain_http_on_the_socket() {
    let device = Device::start("alpha");
    let mut stream =
        std::os::unix::net::UnixStream::connect(device.home().join("control.sock")).expect("connected");
    stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\"directories\":[]"), "{answer}");
}
