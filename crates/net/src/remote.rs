//! What is known of one remote here: where to dial it, and the one link to it.
//!
//! Both devices may dial at once. Whoever has the smaller device id wins: it lets the other's connection wait while it
//! has asked for a link itself, and the other gives up its own question when the smaller one's arrives. So each pair
//! agrees on one link without first having two.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use file_sync_core::version::DeviceId;
use tokio::sync::{Notify, watch};

use crate::link::Link;

/// One remote.
pub(crate) struct Remote {
    pub(crate) device: DeviceId,
    /// Held by the task of the link that is up, so that a new link's events follow the old one's.
    pub(crate) running: tokio::sync::Mutex<()>,
    /// Dial now, please.
    pub(crate) woken: Notify,
    state: Mutex<State>,
    /// Counts changes of the state.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// As the server says.
    configured: Vec<String>,
    /// As the remote announced.
    announced: Vec<String>,
    /// True while our own question for a link is on its way.
    asked: bool,
    forgotten: bool,
    link: Option<Current>,
}

/// The link of a remote, from the moment that it is agreed on.
pub(crate) struct Current {
    pub(crate) link: Link,
    /// The remote's incarnation, once known.
    pub(crate) incarnation: Option<u64>,
}

/// What becomes of a connection that would be a link.
pub(crate) enum Admission {
    /// It is the link now.
    Linked,
    /// There is this one already, and it stays.
    Already(Link),
    /// Our own question is on its way; decide when it is answered.
    Wait,
    /// The remote was removed.
    Forgotten,
}

impl Remote {
    pub(crate) fn new(device: DeviceId) -> Remote {
        Remote {
            device,
            running: tokio::sync::Mutex::default(),
            woken: Notify::new(),
            state: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// Dials at these addresses from now on, and at once if one of them is new.
    pub(crate) fn configure(&self, addresses: Vec<String>) {
        let known = self.addresses();
        let is_news = addresses.iter().any(|address| !known.contains(address));
        self.state().configured = addresses;
        if is_news {
            self.wake();
        }
    }

    /// Dials at once, if there is no link. While there is one this means nothing, also for when it has ended: a remote
    /// that ends each link at once would be dialed as fast as it does that.
    pub(crate) fn wake(&self) {
        if self.link().is_none() {
            self.woken.notify_one();
        }
    }

    pub(crate) fn announce(&self, addresses: &[String], link_id: u64, incarnation: u64) {
        let mut state = self.state();
        state.announced = addresses.to_vec();
        if let Some(current) = state.link.as_mut().filter(|current| current.link.id() == link_id) {
            current.incarnation = Some(incarnation);
        }
    }

    /// Everywhere that the remote may be, configured addresses first.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let state = self.state();
        let mut addresses = state.configured.clone();
        addresses.extend(state.announced.iter().filter(|new| !state.configured.contains(new)).cloned());
        addresses
    }

    pub(crate) fn link(&self) -> Option<Link> {
        self.state().link.as_ref().map(|current| current.link.clone())
    }

    pub(crate) fn is_forgotten(&self) -> bool {
        self.state().forgotten
    }

    pub(crate) fn forget(&self, reason: &str) {
        let link = {
            let mut state = self.state();
            state.forgotten = true;
            state.link.take()
        };
        self.changed();
        if let Some(current) = link {
            current.link.close(reason);
        }
    }

    /// Waits until there is, or is not, a link, or the remote was removed.
    pub(crate) async fn wait_linked(&self, linked: bool) {
        let mut changes = self.changes.subscribe();
        loop {
            {
                let state = self.state();
                if state.forgotten || state.link.is_some() == linked {
                    return;
                }
            }
            changes.changed().await.expect("the sender lives as long as this");
        }
    }

    /// Waits for any change of the state after `subscribe`.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Notes that we ask for a link; none if there is one, or the remote was removed.
    pub(crate) fn ask(self: &Arc<Self>) -> Option<Question> {
        let mut state = self.state();
        if state.forgotten || state.link.is_some() || state.asked {
            return None;
        }
        state.asked = true;
        Some(Question(Arc::clone(self)))
    }

    /// Decides about a connection that the remote dialed.
    pub(crate) fn admit_inbound(&self, ours: DeviceId, new: &Link, incarnation: u64) -> Admission {
        let mut state = self.state();
        let preferred = self.device < ours;
        match &state.link {
            _ if state.forgotten => return Admission::Forgotten,
            None if state.asked && !preferred => return Admission::Wait,
            None => {}
            // The remote dials only while it has no link: after a start it knows nothing of the old one, and one that it
            // dialed itself it gave up.
            Some(current) => {
                let restarted = current.incarnation.is_some_and(|known| known != incarnation);
                if !restarted && current.link.is_dialed() && !preferred {
                    return Admission::Already(current.link.clone());
                }
            }
        }
        let old = state.link.replace(Current { link: new.clone(), incarnation: Some(incarnation) });
        drop(state);
        self.replaced(old);
        Admission::Linked
    }

    fn admit_outbound(&self, ours: DeviceId, new: &Link) -> Admission {
        let mut state = self.state();
        match &state.link {
            _ if state.forgotten => return Admission::Forgotten,
            Some(current) if self.device < ours => return Admission::Already(current.link.clone()),
            _ => {}
        }
        let old = state.link.replace(Current { link: new.clone(), incarnation: None });
        drop(state);
        self.replaced(old);
        Admission::Linked
    }

    /// Forgets a link that has ended.
    pub(crate) fn ended(&self, link_id: u64) {
        {
            let mut state = self.state();
            if state.link.as_ref().is_none_or(|current| current.link.id() != link_id) {
                return;
            }
            state.link = None;
        }
        self.changed();
    }

    fn replaced(&self, old: Option<Current>) {
        if let Some(current) = old {
            current.link.close("replaced by a newer connection");
        }
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds it can leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Our question for a link, from before it is sent until it is answered or given up.
pub(crate) struct Question(Arc<Remote>);

impl Question {
    /// The remote said yes.
    pub(crate) fn accepted(self, ours: DeviceId, new: &Link) -> Admission {
        self.0.admit_outbound(ours, new)
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.0.state().asked = false;
        self.0.changed();
    }
}
