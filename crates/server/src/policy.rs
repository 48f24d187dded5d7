//! Who may connect: the paired devices, and whoever shows an invitation that is still good.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use file_sync_core::version::DeviceId;
use file_sync_net::Policy;
use tokio::sync::mpsc;

use crate::input::Input;

/// How long a device that shows a secret waits for the main loop.
const REDEEM_WITHIN: Duration = Duration::from_secs(8);

/// The paired devices, for the threads that accept.
pub(crate) struct Paired {
    devices: RwLock<BTreeSet<DeviceId>>,
    inputs: mpsc::Sender<Input>,
}

impl Paired {
    pub(crate) fn new(devices: BTreeSet<DeviceId>, inputs: mpsc::Sender<Input>) -> Paired {
        Paired { devices: RwLock::new(devices), inputs }
    }

    pub(crate) fn insert(&self, device: DeviceId) {
        self.devices.write().unwrap_or_else(PoisonError::into_inner).insert(device);
    }

    pub(crate) fn remove(&self, device: &DeviceId) {
        self.devices.write().unwrap_or_else(PoisonError::into_inner).remove(device);
    }
}

impl Policy for Paired {
    fn is_paired(&self, device: DeviceId) -> bool {
        self.devices.read().unwrap_or_else(PoisonError::into_inner).contains(&device)
    }

    fn redeem(
        &self,
        secret: &[u8; 16],
        device: DeviceId,
        key: [u8; 32],
        name: &str,
        addresses: &[String],
    ) -> Option<String> {
        let (reply, answer) = std::sync::mpsc::channel();
        let (name, addresses) = (name.to_owned(), addresses.to_vec());
        let input = Input::Redeem { secret: *secret, device, key, name, addresses, reply };
        self.inputs.blocking_send(input).ok()?;
        answer.recv_timeout(REDEEM_WITHIN).ok().flatten()
    }
}
