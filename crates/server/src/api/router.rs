//! The api's routes: which path and method ask for which verb, and how answers and refusals become HTTP.
//!
//! 200 carries the answer's document. Everything else carries `{"error": "one line"}`: 400 malformed, 404 unknown,
//! 405 wrong method, 408 out of time, 409 refused or failed, 503 stopping.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use super::command::{Command, Reason, Refusal, Reply};
use super::types::ErrorAnswer;
use super::{files, remotes, status, syncs, versions};

/// The queue that commands go into.
pub(super) type Commands = State<mpsc::Sender<Command>>;
/// What a handler returns.
pub(super) type Answer<T> = Result<Json<T>, Refusal>;

/// All routes, over a queue of commands.
pub fn router(commands: mpsc::Sender<Command>) -> Router {
    Router::new()
        .route("/v1/status", get(status::status))
        .route("/v1/files", get(files::ls).post(files::up))
        .route("/v1/files/down", post(files::down))
        .route("/v1/remotes", get(remotes::ls).post(remotes::add))
        .route("/v1/remotes/invite", post(remotes::invite))
        .route("/v1/remotes/rm", post(remotes::rm))
        .route("/v1/offers", get(remotes::offers))
        .route("/v1/syncs", get(syncs::ls).post(syncs::up))
        .route("/v1/syncs/preview", post(syncs::preview))
        .route("/v1/syncs/down", post(syncs::down))
        .route("/v1/syncs/pause", post(syncs::pause))
        .route("/v1/syncs/resume", post(syncs::resume))
        .route("/v1/syncs/held", post(syncs::held))
        .route("/v1/syncs/hold", post(syncs::hold))
        .route("/v1/syncs/approve", post(syncs::approve))
        .route("/v1/syncs/reject", post(syncs::reject))
        .route("/v1/syncs/wait", post(syncs::wait))
        .route("/v1/verify", post(versions::verify))
        .route("/v1/conflicts", post(versions::conflicts))
        .route("/v1/conflicts/resolve", post(versions::resolve))
        .route("/v1/history", post(versions::history))
        .route("/v1/why", post(versions::why))
        .route("/v1/log", post(versions::log))
        .route("/v1/restore", post(versions::restore))
        .fallback(|| async {
            error(StatusCode::NOT_FOUND, "no such request; is the client newer than the server?")
        })
        .method_not_allowed_fallback(|| async {
            error(StatusCode::METHOD_NOT_ALLOWED, "this request does not exist with that method")
        })
        .with_state(commands)
}

/// Puts a command into the queue and awaits its answer.
pub(super) async fn ask<T: Serialize>(
    State(commands): Commands,
    command: impl FnOnce(Reply<T>) -> Command,
) -> Answer<T> {
    let (reply, answer) = oneshot::channel();
    commands.send(command(reply)).await.map_err(|_| Refusal::stopping())?;
    answer.await.map_err(|_| Refusal::stopping())?.map(Json)
}

/// Reads a request's body.
pub(super) fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::malformed(format!("malformed request: {error}")))
}

fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(ErrorAnswer { error: message.to_owned() })).into_response()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.reason {
            Reason::Malformed => StatusCode::BAD_REQUEST,
            Reason::Unknown => StatusCode::NOT_FOUND,
            Reason::Refused => StatusCode::CONFLICT,
            Reason::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Reason::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        error(status, &self.message)
    }
}
