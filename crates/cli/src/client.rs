//! Asks the server of a home over its control socket. It knows the api's documents and nothing of what they mean.

use std::path::PathBuf;
use std::time::Duration;

use file_sync_server::api::socket::{DialError, dial};
use file_sync_server::api::types::ErrorAnswer;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::failure::Failure;

/// How long a server may take to answer what it does not wait for anybody with.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client of one home's server.
#[derive(Debug, Clone)]
pub struct Client {
    home: PathBuf,
}

impl Client {
    /// A client for a home; nothing is connected before the first request.
    pub fn new(home: PathBuf) -> Client {
        Client { home }
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// When no server runs, it refuses, or it does not answer.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.exchange(Method::GET, path, Bytes::new());
        tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(self.silent(PATIENCE)))
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// As for [`Client::get`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        self.post_within(PATIENCE, path, body).await.unwrap_or_else(|| Err(self.silent(PATIENCE)))
    }

    /// Asks for something that may take as long as it takes.
    ///
    /// # Errors
    /// When no server runs, it refuses, or it ends.
    pub async fn post_patiently<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).expect("requests have string keys alone");
        self.exchange(Method::POST, path, body.into()).await
    }

    /// Asks for something to be done, for so long; none: the server did not answer in time.
    pub async fn post_within<T: DeserializeOwned>(
        &self,
        patience: Duration,
        path: &str,
        body: &impl Serialize,
    ) -> Option<Result<T, Failure>> {
        let body = serde_json::to_vec(body).expect("requests have string keys alone");
        tokio::time::timeout(patience, self.exchange(Method::POST, path, body.into())).await.ok()
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Failure> {
        let (status, bytes) = self.transfer(self.connect()?, method, path, body).await.map_err(|error| {
            let home = self.home.display();
            Failure::refused(format!("the server of {home} ended before it answered ({error}); see its log"))
        })?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&bytes).map_err(|error| self.strange(&error.to_string()));
        }
        let ErrorAnswer { error } =
            serde_json::from_slice(&bytes).map_err(|_| self.strange(status.as_str()))?;
        Err(if status == StatusCode::REQUEST_TIMEOUT {
            Failure::TimedOut(error)
        } else {
            Failure::Refused(error)
        })
    }

    fn connect(&self) -> Result<UnixStream, Failure> {
        let stream = dial(&self.home).map_err(|error| match error {
            DialError::NoServer { .. } => Failure::NoServer(error.to_string()),
            DialError::Io { .. } => Failure::Refused(error.to_string()),
        })?;
        stream
            .set_nonblocking(true)
            .and_then(|()| UnixStream::from_std(stream))
            .map_err(|error| Failure::refused(format!("cannot use the control socket: {error}; try again")))
    }

    async fn transfer(
        &self,
        stream: UnixStream,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), hyper::Error> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer, or says there why it could not be had.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "file-sync")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .expect("routes are valid uris");
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    fn strange(&self, what: &str) -> Failure {
        let home = self.home.display();
        Failure::refused(format!(
            "the server of {home} answers strangely ({what}); is it of another version? restart it"
        ))
    }

    fn silent(&self, patience: Duration) -> Failure {
        let (home, seconds) = (self.home.display(), patience.as_secs());
        Failure::refused(format!(
            "the server of {home} has not answered for {seconds} s; see its log, or restart it"
        ))
    }
}
