//! `remote invite`, `add`, `rm`, `ls`: the devices that this one is paired with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use file_sync_core::message::Members;
use file_sync_core::version::{DeviceId, DirectoryId, Time};
use file_sync_index::{
    DirectoryReader, IndexError, Invitation as StoredInvitation, Remote as StoredRemote, Role,
};
use file_sync_net::{PairError, PairRequest, PairedWith, Ticket};

use super::{House, refused};
use crate::api::command::{Refusal, RemoteAdd, RemoteInvite, RemoteRm, Reply};
use crate::api::names::{RemoteName, printable};
use crate::api::types::{Invitation, Remote, RemoteList, RemoteRemoved, rfc3339};
use crate::clock;
use crate::house::files::random_bytes;
use crate::input::{Input, answer};
use crate::room::add_member;

/// How long `remote add` tries.
const PAIR_WITHIN: Duration = Duration::from_secs(28);

impl House {
    pub(super) fn remote_invite(&mut self, request: &RemoteInvite) -> Result<Invitation, Refusal> {
        let secret = random_bytes()?;
        let now = clock::seconds();
        let expires = now.saturating_add(i64::try_from(request.expires_seconds).unwrap_or(i64::MAX));
        let stored = StoredInvitation {
            secret_hash: *blake3::hash(&secret).as_bytes(),
            created_at: now,
            expires_at: expires,
            used_by: None,
        };
        self.home.drop_invitations(now).map_err(refused)?;
        self.home.insert_invitation(&stored).map_err(refused)?;
        let ticket = Ticket {
            addresses: reachable_addresses(self.network.local_address()),
            device: self.context.identity.device_id(),
            secret,
            expires: u64::try_from(expires).unwrap_or(0),
        };
        let expires_at = rfc3339(Time { seconds: expires, nanoseconds: 0 });
        Ok(Invitation { ticket: ticket.to_string(), expires_at })
    }

    pub(super) fn remote_add(&mut self, request: RemoteAdd, reply: Reply<Remote>) {
        let ticket = match self.check_ticket(&request) {
            Ok(ticket) => ticket,
            Err(refusal) => return answer(reply, Err(refusal)),
        };
        let pairing = PairRequest {
            ticket,
            name: self.config.name.clone(),
            addresses: self.network.announced_addresses(),
            timeout: PAIR_WITHIN,
            now_seconds: u64::try_from(clock::seconds()).unwrap_or(0),
        };
        let identity = self.context.identity.clone();
        let inputs = self.context.inputs.clone();
        tokio::spawn(async move {
            let result = file_sync_net::pair(&identity, pairing).await;
            // Nobody listens only when the server stops.
            let _ = inputs.send(Input::Added { request, result, reply }).await;
        });
    }

    fn check_ticket(&self, request: &RemoteAdd) -> Result<Ticket, Refusal> {
        let ticket: Ticket = request
            .ticket
            .parse()
            .map_err(|error: file_sync_net::TicketError| Refusal::new(error.to_string()))?;
        if ticket.device == self.context.identity.device_id() {
            return Err(Refusal::new("this ticket is this device's own; use it on the other device"));
        }
        match self.remotes().iter().find(|remote| remote.device == ticket.device) {
            // It may be found elsewhere by now.
            Some(known) if known.name == request.name.as_str() => {}
            Some(known) => {
                let name = printable(known.name.as_ref());
                return Err(Refusal::new(format!(
                    "that device is paired already, as {name}; `file-sync remote add {name} TICKET` takes its address anew"
                )));
            }
            None => self.check_remote_name(&request.name)?,
        }
        Ok(ticket)
    }

    fn check_remote_name(&self, name: &RemoteName) -> Result<(), Refusal> {
        if self.remotes().iter().any(|remote| remote.name == name.as_str()) {
            return Err(Refusal::new(format!(
                "the name {} is taken; choose another, or remove that remote first",
                printable(name.as_str().as_ref())
            )));
        }
        Ok(())
    }

    /// What came of a `remote add`.
    pub(super) fn added(
        &mut self,
        request: &RemoteAdd,
        result: Result<PairedWith, PairError>,
    ) -> Result<Remote, Refusal> {
        let paired = result.map_err(|error| Refusal::new(error.to_string()))?;
        if self.is_paired(&paired.device) {
            self.remember_addresses(&paired.device, paired.addresses);
            self.network.dial_now(paired.device);
            let known = self.home.remote(&paired.device).map_err(refused)?;
            return known
                .map(|remote| self.shown_remote(&remote))
                .ok_or_else(|| Refusal::new("the device was removed meanwhile; see `file-sync remote ls`"));
        }
        let remote = StoredRemote {
            device: paired.device,
            name: request.name.as_str().to_owned(),
            key: paired.key,
            addresses: paired.addresses.clone(),
            last_seen: None,
            paired_at: clock::seconds(),
            deleted: false,
        };
        self.home.insert_remote(&remote).map_err(|error| match error {
            IndexError::Taken { .. } => {
                Refusal::new("the device was paired meanwhile; see `file-sync remote ls`")
            }
            error => refused(error),
        })?;
        self.paired.insert(paired.device);
        self.network.set_remote(paired.device, paired.addresses);
        Ok(self.shown_remote(&remote))
    }

    /// Somebody shows an invitation's secret; returns this device's name if it is good.
    pub(super) fn redeem(
        &mut self,
        secret: &[u8; 16],
        device: DeviceId,
        key: [u8; 32],
        name: &str,
        addresses: &[String],
    ) -> Option<String> {
        let secret_hash = *blake3::hash(secret).as_bytes();
        let now = clock::seconds();
        if let Some(known) = self.remotes().into_iter().find(|remote| remote.device == device) {
            // It forgot us, or never heard the answer to its first try.
            let is_used_by_it = |invitation: &StoredInvitation| {
                invitation.secret_hash == secret_hash && invitation.used_by == Some(device)
            };
            let is_again = self.home.invitations().ok()?.iter().any(is_used_by_it);
            let is_good = is_again || self.home.redeem_invitation(&secret_hash, &device, now).ok()?;
            tracing::info!(remote = known.name, is_good, "a paired device shows an invitation");
            return is_good.then(|| self.config.name.clone());
        }
        let remote = StoredRemote {
            device,
            name: self.unique_name(name),
            key,
            addresses: addresses.to_vec(),
            last_seen: None,
            paired_at: now,
            deleted: false,
        };
        match self.home.pair_by_invitation(&secret_hash, &remote, now) {
            Ok(true) => {
                tracing::info!(remote = remote.name, ?device, "paired");
                self.paired.insert(device);
                Some(self.config.name.clone())
            }
            Ok(false) => {
                tracing::warn!(?device, "an invitation is used up, expired, or none of ours");
                None
            }
            Err(error) => {
                tracing::error!(%error, "cannot store a new remote");
                None
            }
        }
    }

    fn unique_name(&self, wished: &str) -> String {
        let wished = RemoteName::try_from(wished.to_owned())
            .map_or_else(|_| "device".to_owned(), |name| name.as_str().to_owned());
        let remotes = self.remotes();
        let is_free = |name: &String| remotes.iter().all(|remote| remote.name != *name);
        let numbered = (2..).map(|number| format!("{wished}-{number}"));
        std::iter::once(wished.clone()).chain(numbered).find(is_free).unwrap_or(wished)
    }

    pub(super) fn remote_rm(&mut self, request: &RemoteRm) -> Result<RemoteRemoved, Refusal> {
        let named = self.remote_named(&request.name);
        let remote = match named {
            Err(refusal) if request.lost => self.removed_remote(&request.name)?.ok_or(refusal)?,
            named => named?,
        };
        if request.lost {
            self.check_members(&remote)?;
        }
        self.paired.remove(&remote.device);
        self.network.forget(remote.device);
        // Of what others offer they say who is a member; but who is lost is missed by nobody.
        let ended: Vec<_> = self
            .room_ids(|resident| resident.room.row.role == Role::Offered || request.lost)
            .into_iter()
            .filter(|directory| self.is_member(directory, &remote.device))
            .collect();
        let already = remote.deleted && ended.is_empty();
        for directory in ended {
            let Some(resident) = self.rooms.get(&directory) else { continue };
            let members = resident.room.engine().members().clone();
            let change = add_member(&members, remote.device, remote.key, false);
            self.with_engine(&directory, |engine| engine.merge_members(clock::now(), &change));
        }
        // Last, so that what comes in between leaves a remote that can be removed by its name.
        if !remote.deleted {
            self.home.delete_remote(&remote.device).map_err(refused)?;
        }
        self.refresh_offered_to();
        Ok(RemoteRemoved { remote: self.shown_remote(&remote), already })
    }

    /// A remote that was removed before, by its id or by the name that it had.
    fn removed_remote(&self, name: &RemoteName) -> Result<Option<StoredRemote>, Refusal> {
        let device = DeviceId::from_hex(name.as_str());
        let mut removed = self.home.remotes().map_err(refused)?;
        removed.retain(|remote| {
            remote.deleted && (Some(remote.device) == device || remote.name == name.as_str())
        });
        if removed.len() > 1 {
            let ids: Vec<String> = removed.iter().map(|remote| remote.device.to_string()).collect();
            return Err(Refusal::new(format!(
                "several devices that were removed had the name {}; say which: {}",
                printable(name.as_str().as_ref()),
                ids.join(", ")
            )));
        }
        Ok(removed.pop())
    }

    /// Refuses if a remote is a member of a directory whose member list cannot be changed now.
    fn check_members(&self, remote: &StoredRemote) -> Result<(), Refusal> {
        for dormant in self.dormant.values() {
            let because = match self.stored_members(&dormant.row.directory) {
                Ok(members) if !members.get(&remote.device).is_some_and(|member| member.active) => continue,
                Ok(_) => dormant.message.clone(),
                Err(error) => error.to_string(),
            };
            return Err(Refusal::new(format!(
                "{} is not at work, and its members cannot be changed: {because}; mend that first, or leave out --lost and say `file-sync remote rm {} --lost` later",
                dormant.row.name, remote.device
            )));
        }
        Ok(())
    }

    /// The member list of a directory that is not at work, as it was stored last; nobody if nothing was.
    pub(super) fn stored_members(&self, directory: &DirectoryId) -> Result<Members, IndexError> {
        let path = self.context.database(directory);
        match path.try_exists() {
            Ok(false) => Ok(Members::default()),
            _ => DirectoryReader::open(&path)?.members(),
        }
    }

    fn is_member(&self, directory: &DirectoryId, device: &DeviceId) -> bool {
        self.rooms.get(directory).is_some_and(|resident| {
            resident.room.engine().members().get(device).is_some_and(|member| member.active)
        })
    }

    /// Takes over whom directories are offered to, after a remote was removed from the database.
    fn refresh_offered_to(&mut self) {
        for resident in self.rooms.values_mut() {
            if let Ok(Some(row)) = self.home.directory(&resident.room.row.directory) {
                resident.room.row.offered_to = row.offered_to;
            }
        }
    }

    pub(super) fn remote_ls(&self) -> Result<RemoteList, Refusal> {
        Ok(RemoteList { remotes: self.shown_remotes() })
    }

    pub(super) fn shown_remotes(&self) -> Vec<Remote> {
        let mut remotes = self.remotes();
        remotes.sort_by(|a, b| a.name.cmp(&b.name));
        remotes.iter().map(|remote| self.shown_remote(remote)).collect()
    }

    fn shown_remote(&self, remote: &StoredRemote) -> Remote {
        let connected = self.links.contains_key(&remote.device);
        let last_seen = if connected { Some(clock::seconds()) } else { remote.last_seen };
        Remote {
            name: remote.name.clone(),
            id: remote.device.to_string(),
            connected,
            address: remote.addresses.first().cloned(),
            last_seen: last_seen.map(|seconds| rfc3339(Time { seconds, nanoseconds: 0 })),
        }
    }

    /// The remotes that are paired now.
    pub(super) fn remotes(&self) -> Vec<StoredRemote> {
        let remotes = self.home.remotes().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read the remotes");
            Vec::new()
        });
        remotes.into_iter().filter(|remote| !remote.deleted).collect()
    }

    pub(super) fn remote_named(&self, name: &RemoteName) -> Result<StoredRemote, Refusal> {
        self.remotes().into_iter().find(|remote| remote.name == name.as_str()).ok_or_else(|| {
            Refusal::unknown(format!(
                "no remote is called {}; `file-sync remote ls` lists them",
                printable(name.as_str().as_ref())
            ))
        })
    }

    pub(super) fn is_paired(&self, device: &DeviceId) -> bool {
        self.home.remote(device).ok().flatten().is_some_and(|remote| !remote.deleted)
    }

    /// What a device is called here: its remote's name, else the beginning of its id.
    pub(super) fn name_of(&self, device: &DeviceId) -> String {
        let named = self.home.remote(device).ok().flatten().map(|remote| remote.name);
        named.unwrap_or_else(|| device.short())
    }
}

/// Where this device may be reached: where it listens, or every address it has if it listens on all.
fn reachable_addresses(listen: SocketAddr) -> Vec<String> {
    if !listen.ip().is_unspecified() {
        return vec![listen.to_string()];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addresses: Vec<IpAddr> = interfaces
        .iter()
        .map(if_addrs::Interface::ip)
        .filter(|ip| listen.is_ipv6() || ip.is_ipv4())
        .filter(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()))
        .collect();
    if addresses.is_empty() {
        addresses.push(Ipv4Addr::LOCALHOST.into());
    }
    addresses.sort_by_key(|ip| (ip.is_loopback(), *ip));
    addresses.into_iter().map(|ip| SocketAddr::new(ip, listen.port()).to_string()).collect()
}
