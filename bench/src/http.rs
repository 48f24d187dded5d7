//! Asks a server over a Unix socket: one request, one JSON document, by HTTP/1.0, so that the end of it is the end.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a request, with headers as `Name: value` and a body if there is one.
///
/// # Errors
/// When nobody listens, or the answer is no success.
pub fn ask(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &[String],
    body: Option<&Value>,
) -> Result<Value> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("{}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut request = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\n");
    for header in headers {
        request.push_str(&format!("{header}\r\n"));
    }
    request
        .push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        bail!("{method} {path}: {status} {}", body.trim_end());
    }
    Ok(serde_json::from_str(body).unwrap_or(Value::Null))
}
