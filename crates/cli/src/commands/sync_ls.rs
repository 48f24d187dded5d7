//! `sync ls`: lists what is joined, and what connected remotes offer.

use file_sync_server::api::types::{RemoteOffer, RemoteOfferList, Synced, SyncedList};
use serde::Serialize;

use super::status_text::no_part;
use super::{shown, shown_path};
use crate::client::Client;
use crate::console::{Console, table};
use crate::failure::Failure;

#[derive(Serialize)]
struct Listing {
    directories: Vec<Synced>,
    offers: Vec<RemoteOffer>,
}

/// Asks, and prints both lists.
///
/// # Errors
/// When no server answers.
pub async fn run(client: &Client, console: Console) -> Result<(), Failure> {
    let SyncedList { directories } = client.get("/v1/syncs").await?;
    let RemoteOfferList { offers } = client.get("/v1/offers").await?;
    if directories.is_empty() && offers.is_empty() {
        console.hint("nothing is joined, and no connected remote offers anything");
    }
    console.result(&Listing { directories, offers }, text)
}

fn text(listing: &Listing) -> String {
    let mut text = String::new();
    if !listing.directories.is_empty() {
        text.push_str(&table(
            ["NAME", "REMOTE", "MODE", "STATE", "PATH"],
            listing.directories.iter().map(row),
        ));
    }
    for directory in &listing.directories {
        let absent = directory.stragglers.iter().filter(|straggler| straggler.takes_no_part);
        absent.for_each(|straggler| {
            text.push_str(&format!("{}: {}\n", shown(&directory.name), no_part(straggler)));
        });
    }
    for offer in listing.offers.iter().filter(|offer| !offer.joined) {
        let kind = if offer.read_only { " (read-only)" } else { "" };
        text.push_str(&format!(
            "offered, not joined: {}:{}{kind}\n",
            shown(&offer.remote),
            shown(&offer.name)
        ));
    }
    text
}

fn row(synced: &Synced) -> [String; 5] {
    let read_only = if synced.read_only { ", read-only" } else { "" };
    let (mode, state) = (format!("{}{read_only}", synced.mode.as_str()), synced.state.as_str().to_owned());
    [shown(&synced.name), shown(&synced.remote), mode, state, shown_path(&synced.path)]
}
