//! A small file system of a test's own, where this user may mount one.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

pub struct Tmpfs(TempDir);

impl Tmpfs {
    /// None, with a word on stderr, where mounting is not allowed.
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub fn mount(size: &str) -> Option<Tmpfs> {
        let directory = tempfile::tempdir().expect("a directory");
        let options = format!("size={size}");
        if !run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"], directory.path()) {
            eprintln!("skipped: a tmpfs cannot be mounted here");
            return None;
        }
        Some(Tmpfs(directory))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn remount(&self, option: &str) {
        let options = format!("remount,{option}");
        assert!(run("mount", &["-o", &options], self.path()), "cannot remount");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run("umount", &["-l"], self.0.path());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    let output = Command::new(program).args(arguments).arg(path).output();
    output.is_ok_and(|output| output.status.success())
}
