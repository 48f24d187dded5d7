//! What the listener asks its owner: who may speak, and whose ticket is good.

use file_sync_core::version::DeviceId;

/// Decides about devices that connect; called from several threads.
pub trait Policy: Send + Sync {
    /// True if this device is paired with us. Answers at once, from memory.
    fn is_paired(&self, device: DeviceId) -> bool;

    /// Redeems a ticket: if `secret` is of one that is still good, uses it up, durably pairs with the device, and
    /// returns this device's own name; none otherwise. May block.
    ///
    /// `key` is the device's raw Ed25519 public key, proved by its handshake; `name` and `addresses` are its own words.
    fn redeem(
        &self,
        secret: &[u8; 16],
        device: DeviceId,
        key: [u8; 32],
        name: &str,
        addresses: &[String],
    ) -> Option<String>;
}
