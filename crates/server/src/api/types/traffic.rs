//! How fast contents go and come, as `status` says it.

use serde::{Deserialize, Serialize};

/// How fast contents go to all remotes together, and come from them, in bytes a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// What has gone, over the last two to four seconds.
    pub upload: u64,
    /// What has come.
    pub download: u64,
    /// What may go at most; null: no limit.
    pub upload_max: Option<u64>,
    /// What may come at most.
    pub download_max: Option<u64>,
    /// How long all that is to come takes at this speed, in seconds; null while nothing comes, or is to come. Less where
    /// only parts of files come. Of what does not come as things are (see `blocked_bytes`; or it is paused) nobody can say.
    pub seconds_left: Option<u64>,
}
