//! Which directories may be offered or joined: none that overlaps another, or the home.

use std::path::{Path, PathBuf};

use file_sync_index::Directory;

use super::House;
use crate::api::command::Refusal;
use crate::api::names::{Target, printable};

fn show(path: &Path) -> String {
    printable(path.as_os_str())
}

impl House {
    /// The directory at `path`, by its real name, if it may be offered.
    pub(super) fn offerable(&self, path: &Path) -> Result<PathBuf, Refusal> {
        let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Refusal::unknown(format!("{} does not exist; make the directory first", show(path)))
            }
            _ => Refusal::new(format!("cannot use {}: {error}; check its permissions", show(path))),
        })?;
        if !metadata.is_dir() {
            return Err(Refusal::new(format!("{} is not a directory; name one that is", show(path))));
        }
        let real = path
            .canonicalize()
            .map_err(|error| Refusal::new(format!("cannot use {}: {error}", show(path))))?;
        self.check_overlap(&real)?;
        Ok(real)
    }

    /// The path where a directory may be kept, by its real name; it may not exist yet.
    pub(super) fn joinable(&self, path: &Path) -> Result<PathBuf, Refusal> {
        let real = real_name(path)?;
        if real.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir()) {
            return Err(Refusal::new(format!(
                "{} is not a directory; name one that is, or a new one",
                show(path)
            )));
        }
        self.check_overlap(&real)?;
        Ok(real)
    }

    fn check_overlap(&self, real: &Path) -> Result<(), Refusal> {
        let home = self.context.home.canonicalize().unwrap_or_else(|_| self.context.home.clone());
        if home.starts_with(real) || real.starts_with(&home) {
            return Err(Refusal::new(format!(
                "{} holds, or lies in, this server's home {}; choose another directory",
                show(real),
                show(&home)
            )));
        }
        for row in self.rows() {
            let relation = if real == row.path {
                "is already kept as"
            } else if real.starts_with(&row.path) {
                "lies inside"
            } else if row.path.starts_with(real) {
                "contains"
            } else {
                continue;
            };
            return Err(Refusal::new(format!(
                "{} {relation} {} ({}); directories must not overlap",
                show(real),
                row.name,
                show(&row.path)
            )));
        }
        Ok(())
    }

    /// Refuses a name that is in use.
    pub(super) fn check_name(&self, name: &str) -> Result<(), Refusal> {
        match self.rows().into_iter().find(|row| row.name == name) {
            None => Ok(()),
            Some(row) => Err(Refusal::new(format!(
                "the name {} is taken by {}; choose another name there, or take that one down first",
                printable(name.as_ref()),
                show(&row.path)
            ))),
        }
    }

    /// The directory that a user means: a name wins over a path.
    pub(super) fn find(&self, target: &Target) -> Result<Directory, Refusal> {
        let rows = self.rows();
        if let Some(name) = &target.name
            && let Some(row) = rows.iter().find(|row| row.name == *name)
        {
            return Ok((*row).clone());
        }
        let path = target.path.as_path();
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        rows.into_iter().find(|row| row.path == real || row.path == path).cloned().ok_or_else(|| {
            Refusal::unknown(format!(
                "no directory {target} is offered or synced here; `file-sync status` lists them"
            ))
        })
    }
}

/// The real name of a path whose last components may not exist yet.
fn real_name(path: &Path) -> Result<PathBuf, Refusal> {
    let failed = |error: std::io::Error| {
        Refusal::new(format!("cannot use {}: {error}; check its permissions", show(path)))
    };
    let mut missing = Vec::new();
    let mut existing = path;
    loop {
        match existing.canonicalize() {
            Ok(real) => return Ok(missing.iter().rev().fold(real, |real, name| real.join(name))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if existing.symlink_metadata().is_ok() {
                    return Err(Refusal::new(format!(
                        "{} is a symlink to nowhere; remove it first",
                        show(existing)
                    )));
                }
                let (Some(name), Some(parent)) = (existing.file_name(), existing.parent()) else {
                    return Err(failed(error));
                };
                missing.push(name.to_owned());
                existing = parent;
            }
            Err(error) => return Err(failed(error)),
        }
    }
}
