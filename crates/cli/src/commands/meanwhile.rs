//! What a terminal is told while an answer is waited for.

use std::time::Duration;

use file_sync_server::api::types::Status;

use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// When it is told first: what is answered at once needs no word.
const FIRST_AFTER: Duration = Duration::from_millis(200);
/// How often from then on.
const EVERY: Duration = Duration::from_millis(500);

/// Waits for an answer; what `line` makes of the server's status stands on a terminal's last line meanwhile.
///
/// # Errors
/// What the answer says.
pub(super) async fn meanwhile<T>(
    answer: impl Future<Output = Result<T, Failure>>,
    client: &Client,
    console: Console,
    line: impl Fn(&Status) -> String,
) -> Result<T, Failure> {
    tokio::pin!(answer);
    let mut pause = FIRST_AFTER;
    loop {
        tokio::select! {
            answer = &mut answer => {
                console.progress("");
                return answer;
            }
            () = tokio::time::sleep(pause) => {
                // Who cannot say how far it is will say what came of it.
                if let Ok(status) = client.get::<Status>("/v1/status").await {
                    console.progress(&line(&status));
                }
                pause = EVERY;
            }
        }
    }
}
