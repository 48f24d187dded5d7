//! The control socket: `control.sock` in the home, for the home's owner alone.
//!
//! A socket's address has room for 108 bytes, a home's path may be longer: both ends go through the opened directory
//! in `/proc/self/fd` where it does not fit. Whether somebody may speak is decided here, by who they are; what they
//! say is the router's.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::serve::Listener;
use rustix::fs::{AtFlags, Mode};
use tokio::net::{UnixListener, UnixStream, unix::SocketAddr};
use tokio::sync::{mpsc, oneshot};

use super::command::Command;
use super::home::HomeLock;
use super::router::router;

const SOCKET_NAME: &str = "control.sock";
/// Longest address that certainly fits, in bytes; `sun_path` has 108, and one is for the NUL.
const ADDRESS_BYTES_MAX: usize = 107;
/// How long requests that are under way may go on once the server stops.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Why the control socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the control socket {}: {error}; check the home's file system", .path.display())]
pub struct SocketError {
    /// What was tried.
    action: &'static str,
    /// Where.
    path: PathBuf,
    /// The system's word.
    error: io::Error,
}

/// Why a server could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody listens there.
    #[error("no server is running for {}; start one with: file-sync server --home {}", .home.display(), .home.display())]
    NoServer {
        /// The home.
        home: PathBuf,
    },
    /// The system refused.
    #[error("cannot reach the server of {}: {error}{}", .home.display(), hint(error))]
    Io {
        /// The home.
        home: PathBuf,
        /// The system's word.
        error: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; only the home's owner and root may",
        io::ErrorKind::NotADirectory => "; a home is a directory",
        _ => "",
    }
}

/// The bound socket; its file goes when this does.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    lock: HomeLock,
}

impl ControlSocket {
    /// Binds the socket of a home that the caller holds, in place of one that a dead server left.
    ///
    /// To be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses; the home is then as it was, less the dead socket.
    pub fn bind(lock: &HomeLock) -> Result<ControlSocket, SocketError> {
        let path = lock.home().join(SOCKET_NAME);
        let failed = |action| {
            let path = path.clone();
            move |error: io::Error| SocketError { action, path, error }
        };
        match rustix::fs::unlinkat(lock.directory(), SOCKET_NAME, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(failed("replace")(errno.into())),
        }
        let listener = UnixListener::bind(address(lock.home(), lock.directory())).map_err(failed("bind"))?;
        // Nobody else gets through the private home before this either.
        rustix::fs::chmodat(lock.directory(), SOCKET_NAME, Mode::from_raw_mode(0o600), AtFlags::empty())
            .map_err(|errno| failed("change the mode of")(errno.into()))?;
        Ok(ControlSocket { listener, lock: lock.clone() })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(self.lock.directory(), SOCKET_NAME, AtFlags::empty());
    }
}

/// Answers requests until `shutdown`, then gives those under way a second.
pub async fn serve(
    socket: ControlSocket,
    commands: mpsc::Sender<Command>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let (stopping_tx, stopping_rx) = oneshot::channel();
    let graceful = async move {
        shutdown.await;
        let _ = stopping_tx.send(());
    };
    let serving = axum::serve(socket, router(commands)).with_graceful_shutdown(graceful);
    let grace = async move {
        let _ = stopping_rx.await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        result = serving => if let Err(error) = result { tracing::error!(%error, "the control socket failed") },
        () = grace => tracing::debug!("left requests unanswered at the stop"),
    }
}

/// Connects to the server of a home.
///
/// # Errors
/// Tells "nobody is there" from everything else.
pub fn dial(home: &Path) -> Result<std::os::unix::net::UnixStream, DialError> {
    let dialed = File::open(home)
        .and_then(|directory| std::os::unix::net::UnixStream::connect(address(home, &directory)));
    dialed.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            DialError::NoServer { home: home.to_owned() }
        }
        _ => DialError::Io { home: home.to_owned(), error },
    })
}

fn address(home: &Path, directory: &File) -> PathBuf {
    let direct = home.join(SOCKET_NAME);
    if direct.as_os_str().len() <= ADDRESS_BYTES_MAX {
        return direct;
    }
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", directory.as_raw_fd()))
}

impl Listener for ControlSocket {
    type Io = UnixStream;
    type Addr = SocketAddr;

    /// The next connection from the owner or root; others are closed at once.
    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) if is_allowed(&stream) => return (stream, address),
                Ok(_) => tracing::warn!("closed a control connection from another user"),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept control connections just now");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn is_allowed(stream: &UnixStream) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|credentials| credentials.uid() == ours || credentials.uid() == 0)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    use super::super::command::Refusal;
    use super::*;

    /// Serves a home with `answer` for every `FileLs`, everything else dropped, and returns what `request` gets.
    fn exchange(home: &Path, request: &'static str) -> String {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let socket = ControlSocket::bind(&HomeLock::take(home).expect("free")).expect("bound");
            let mode = home.join(SOCKET_NAME).metadata().expect("a socket").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let (commands_tx, mut commands_rx) = mpsc::channel(1);
            let (stop_tx, stop_rx) = oneshot::channel::<()>();
            let serving = tokio::spawn(serve(socket, commands_tx, async {
                let _ = stop_rx.await;
            }));
            tokio::spawn(async move {
                while let Some(command) = commands_rx.recv().await {
                    match command {
                        Command::FileLs(reply) => drop(reply.send(Err(Refusal::new("not today")))),
                        Command::SyncWait(_, reply) => drop(reply.send(Err(Refusal::timed_out("late")))),
                        _ => {}
                    }
                }
            });
            let stream = dial(home).expect("reached");
            let answer = tokio::task::spawn_blocking(move || talk(stream, request)).await.expect("answered");
            stop_tx.send(()).expect("serving");
            serving.await.expect("stopped");
            answer
        })
    }

    fn talk(mut stream: std::os::unix::net::UnixStream, request: &str) -> String {
        let (head, body) = request.split_once('\n').unwrap_or((request, ""));
        let length = body.len();
        write!(
            stream,
            "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("received");
        answer
    }

    fn check(request: &'static str, status: &str, body: &str) {
        let home = tempfile::tempdir().expect("a temporary directory");
        let answer = exchange(home.path(), request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        assert!(answer.contains(body), "{request}: {answer}");
        assert!(!home.path().join(SOCKET_NAME).exists(), "a clean stop leaves no socket");
    }

    #[test]
    fn refusals_are_one_json_line_with_a_status() {
        check("GET /v1/files", "409", r#"{"error":"not today"}"#);
        check("GET /v1/remotes", "503", r#"{"error":"the server is stopping"#);
        check("GET /v1/nothing", "404", r#"{"error":"#);
        check("DELETE /v1/files", "405", r#"{"error":"#);
        check("POST /v1/files\n{\"path\":\"relative\",\"name\":\"x\"}", "400", "not an absolute path");
        check("POST /v1/files\nnonsense", "400", r#"{"error":"malformed request"#);
        check("POST /v1/remotes/invite\n{\"expires_seconds\":0}", "400", "from one second");
        check("POST /v1/syncs/wait\n{\"target\":null,\"timeout_ms\":1}", "408", r#"{"error":"late"}"#);
    }

    #[test]
    fn any_home_path_works() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let home = root.path().join("long ".repeat(40)).join("ü".repeat(100));
        assert!(exchange(&home, "GET /v1/files").contains("not today"));
    }

    #[test]
    fn a_dead_socket_is_replaced_and_nobody_is_there_meanwhile() {
        let home = tempfile::tempdir().expect("a temporary directory");
        assert!(matches!(dial(&home.path().join("none")), Err(DialError::NoServer { .. })));
        assert!(matches!(dial(home.path()), Err(DialError::NoServer { .. })));
        drop(std::os::unix::net::UnixListener::bind(home.path().join(SOCKET_NAME)).expect("bound"));
        assert!(matches!(dial(home.path()), Err(DialError::NoServer { .. })));
        assert!(exchange(home.path(), "GET /v1/files").contains("not today"));
    }
}
