//! How many directories the kernel lets a server watch, and the command that raises the limit.
//!
//! A limit may be the system's, or that of the user namespace that the process is in, as in a container. Who asks has to be
//! in the server's own: the server itself, or `doctor` where none runs.

use std::fs;

/// A limit, and the setting that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    /// How many are allowed.
    pub(crate) allowed: u64,
    /// What sysctl(8) calls it.
    pub(crate) setting: &'static str,
}

/// How many watches this user's programs may have together; none if the system does not say.
pub(crate) fn watches() -> Option<Limit> {
    lower("fs.inotify.max_user_watches", "user.max_inotify_watches")
}

/// How many inotify instances; each directory that is kept equal needs one.
pub(crate) fn instances() -> Option<Limit> {
    lower("fs.inotify.max_user_instances", "user.max_inotify_instances")
}

impl Limit {
    /// The command that raises it, now and for later starts, so that `needed` are allowed and other programs have some too.
    pub(crate) fn raise(self, needed: u64, at_least: u64) -> String {
        let setting = self.setting;
        let to = needed.saturating_mul(2).max(at_least);
        format!(
            "sudo sysctl -w {setting}={to} && echo {setting}={to} | sudo tee /etc/sysctl.d/99-file-sync-{setting}.conf"
        )
    }

    /// The same for watches.
    pub(crate) fn raise_watches(self, needed: u64) -> String {
        self.raise(needed, 524_288)
    }
}

fn lower(of_system: &'static str, of_namespace: &'static str) -> Option<Limit> {
    let limit = |setting: &'static str| {
        let text = fs::read_to_string(format!("/proc/sys/{}", setting.replace('.', "/"))).ok()?;
        Some(Limit { allowed: text.trim().parse().ok()?, setting })
    };
    // Outside of namespaces the two are one, which is known by the first name.
    limit(of_system).into_iter().chain(limit(of_namespace)).min_by_key(|limit| limit.allowed)
}
