//! How much room the root's file system has.

use file_sync_core::effect::Trouble;

use crate::root::Root;
use crate::trouble::trouble;

impl Root {
    /// Bytes that this user may still write on the root's file system.
    ///
    /// # Errors
    /// When the file system does not say.
    pub fn free_bytes(&self) -> Result<u64, Trouble> {
        self.stage().free_bytes()
    }

    /// Bytes that the root's file system can hold in all.
    ///
    /// # Errors
    /// When the file system does not say.
    pub fn total_bytes(&self) -> Result<u64, Trouble> {
        let space = rustix::fs::fstatvfs(self.fd())
            .map_err(|errno| trouble("ask for the file system's size", errno))?;
        Ok(space.f_blocks.saturating_mul(space.f_frsize))
    }
}
