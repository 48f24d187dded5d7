//! `log`: what was done to users' bytes, when, and on whose word (promise P3).

use file_sync_core::path::SyncPath;

use super::House;
use crate::api::command::{Log as Request, Refusal, Reply};
use crate::api::types::{Log, LoggedAct, rfc3339};
use crate::room::Editor;

impl House {
    pub(super) fn log(&self, request: &Request, reply: Reply<Log>) {
        let names = self.names();
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        self.edit(&request.path, reply, move |editor, row, path| {
            // What is not noted in time is listed the next time.
            let _ = editor.await_noted();
            let mut acts = editor.acts(&path, limit.saturating_add(1))?;
            // A mistyped path must not seem to be one that nothing ever happened to.
            if acts.is_empty() && !is_known(&editor, &path) {
                return Err(Refusal::unknown(format!(
                    "nothing is at {path} in {}, and nothing is known to have been done there",
                    row.name
                )));
            }
            let more = acts.len() > limit;
            acts.truncate(limit);
            let name = |device| names.get(device).cloned().unwrap_or_else(|| device.short());
            let shown = acts.iter().map(|act| LoggedAct {
                at: rfc3339(act.at),
                path: (&act.path).into(),
                what: act.what.clone(),
                why: act.why.clone(),
                by: act.by.as_ref().map(name).unwrap_or_default(),
                before: act.before.map(|hash| hash.to_string()),
                after: act.after.map(|hash| hash.to_string()),
            });
            Ok(Log { directory: row.name, path: (&path).into(), acts: shown.collect(), more })
        });
    }
}

/// True if something is or was at a path, on this disk or by anybody's word.
fn is_known(editor: &Editor, path: &SyncPath) -> bool {
    let known = editor.explain(path);
    path.is_root() || known.record.is_some() || !known.versions.is_empty() || !editor.has_gone(path)
}
