//! Tickets: good once, from whom they name, until they expire.

use file_sync_net::{NetEvent, PairError, PairRequest, Ticket, device_id_of, pair};

use crate::device::{Device, Home, NOW, soon, talk};
use crate::raw::tcp;

async fn redeem(device: &Device, ticket: Ticket) -> Result<file_sync_net::PairedWith, PairError> {
    soon(pair(&device.home.identity, device.request(ticket))).await
}

#[tokio::test]
async fn h2_a_ticket_pairs_two_devices_once() {
    let (mut inviter, mut redeemer, late) = (Device::new(), Device::new(), Device::new());
    let ticket = inviter.invite(1);
    let paired = redeem(&redeemer, ticket.to_string().parse().unwrap()).await.unwrap();
    assert_eq!(paired.device, inviter.id());
    assert_eq!(device_id_of(&paired.key), inviter.id());
    assert_eq!(paired.name, "inviter");
    assert_eq!(paired.addresses, [inviter.address().to_string()]);
    match inviter.event().await {
        NetEvent::Paired { device, key, name, addresses } => {
            assert_eq!((device, key), (redeemer.id(), redeemer.home.identity.public_key()));
            assert_eq!((name.as_str(), addresses), ("redeemer", vec![redeemer.address().to_string()]));
        }
        other => panic!("{other:?}"),
    }

    assert_eq!(redeem(&late, ticket.clone()).await, Err(PairError::Refused));
    assert!(inviter.refused().await.contains("used up"));
    assert_eq!(redeem(&redeemer, ticket).await, Err(PairError::Refused));

    redeemer.trusts(&inviter);
    redeemer.network.set_remote(paired.device, paired.addresses);
    let (up, other_up) = (redeemer.up().await, inviter.up().await);
    talk(&mut redeemer, &up.link, &mut inviter, &other_up.link).await;
}

#[tokio::test]
async fn h2_an_expired_ticket_is_refused_by_either_clock() {
    let (inviter, redeemer) = (Device::new(), Device::new());
    let ticket = inviter.invite(1);
    let late = PairRequest { now_seconds: NOW + 3600, ..redeemer.request(ticket.clone()) };
    assert_eq!(soon(pair(&redeemer.home.identity, late)).await, Err(PairError::Expired));
    inviter.home.trust.tickets.lock().unwrap().insert(ticket.secret, NOW);
    assert_eq!(redeem(&redeemer, ticket).await, Err(PairError::Refused));
}

#[tokio::test]
async fn h2_a_wrong_secret_is_refused_and_spoils_nothing() {
    let (mut inviter, redeemer) = (Device::new(), Device::new());
    let ticket = inviter.invite(1);
    let guess = Ticket { secret: [2; 16], ..ticket.clone() };
    assert_eq!(redeem(&redeemer, guess).await, Err(PairError::Refused));
    assert!(
        matches!(inviter.event().await, NetEvent::Refused { device, .. } if device == Some(redeemer.id()))
    );
    assert!(redeem(&redeemer, ticket).await.is_ok());
}

#[tokio::test]
async fn a_device_does_not_pair_with_itself() {
    let mut device = Device::new();
    let ticket = device.invite(1);
    assert_eq!(redeem(&device, ticket.clone()).await, Err(PairError::Own));
    assert!(device.home.trust.tickets.lock().unwrap().contains_key(&ticket.secret));
    device.has_no_more_events();
}

#[tokio::test]
async fn h2_the_secret_goes_only_to_the_device_that_the_ticket_names() {
    let (inviter, impostor, redeemer) = (Device::new(), Device::new(), Device::new());
    let address = impostor.address().to_string();
    let ticket = Ticket { addresses: vec![address.clone()], ..inviter.invite(1) };
    impostor.home.trust.tickets.lock().unwrap().insert(ticket.secret, NOW + 3600);
    assert_eq!(redeem(&redeemer, ticket.clone()).await, Err(PairError::OtherDevice { address }));
    assert!(impostor.home.trust.tickets.lock().unwrap().contains_key(&ticket.secret));
}

#[tokio::test]
async fn nobody_there_is_said_and_leaves_the_ticket_good() {
    let (inviter, redeemer) = (Device::new(), Device::new());
    let ticket = inviter.invite(1);
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for addresses in [vec![], vec![gone.to_string()], vec!["no address".to_owned()]] {
        let nowhere = Ticket { addresses, ..ticket.clone() };
        assert!(matches!(redeem(&redeemer, nowhere).await, Err(PairError::Unreachable { .. })));
    }
    let mut addresses = ticket.addresses.clone();
    addresses.insert(0, gone.to_string());
    assert!(redeem(&redeemer, Ticket { addresses, ..ticket }).await.is_ok());
}

#[tokio::test]
async fn a_listener_that_says_nothing_is_given_up_in_time() {
    let inviter = Device::new();
    let redeemer = Device::new();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ticket = Ticket { addresses: vec![silent.local_addr().unwrap().to_string()], ..inviter.invite(1) };
    let timeout = std::time::Duration::from_millis(300);
    let request = PairRequest { timeout, ..redeemer.request(ticket) };
    let result = soon(pair(&redeemer.home.identity, request)).await;
    assert!(matches!(result, Err(PairError::Unreachable { .. })), "{result:?}");
}

#[tokio::test]
async fn h3_a_policy_that_fails_refuses_and_the_listener_goes_on() {
    let (inviter, redeemer) = (Device::new(), Device::new());
    let ticket = inviter.invite(1);
    let request = PairRequest { name: "panic".to_owned(), ..redeemer.request(ticket.clone()) };
    assert_eq!(soon(pair(&redeemer.home.identity, request)).await, Err(PairError::Refused));
    assert!(redeem(&redeemer, ticket).await.is_ok());
}

#[tokio::test]
async fn the_address_in_use_is_named() {
    let device = Device::new();
    let listen = device.address();
    let home = Home::new();
    let (events, _receiver) = tokio::sync::mpsc::channel(1);
    let config = file_sync_net::NetworkConfig {
        identity: home.identity.clone(),
        listen,
        name: String::new(),
        incarnation: 1,
        policy: home.trust.clone(),
        provider: home.contents.clone(),
        events,
        timing: crate::device::quick(),
        protocols: file_sync_net::NetworkConfig::PROTOCOLS,
        rates: file_sync_net::RatesMax::default(),
    };
    let error = file_sync_net::Network::start(config).err().unwrap();
    assert!(error.to_string().contains(&format!("{listen} is in use")), "{error}");
    // The one that listens there is not disturbed.
    drop(tcp(1, listen).await);
}
