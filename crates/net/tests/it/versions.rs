//! Protocol versions: the highest that both speak, or a reason that names both.

use file_sync_proxy::Proxy;

use crate::device::{Device, Home, Start, quick, soon, talk};

fn speaking(protocols: std::ops::RangeInclusive<u32>) -> Device {
    Home::new().start(Start { protocols, timing: quick(), ..Start::default() })
}

#[tokio::test]
async fn devices_without_a_common_version_say_so_on_both_sides() {
    let (mut old, mut new) = (speaking(3..=3), speaking(4..=5));
    old.trusts(&new);
    new.trusts(&old);
    let proxy = Proxy::to(new.address()).unwrap();
    old.dials(&new, proxy.address());
    for device in [&mut old, &mut new] {
        let reason = device.refused().await;
        assert!(reason.contains("dialing device speaks 3 to 3, the listening one 4 to 5"), "{reason}");
        assert!(reason.contains("update file-sync on the dialing device"), "{reason}");
    }
    // It keeps trying, since the other may be updated, and tells its user once.
    soon(async {
        while proxy.counts().accepted < 4 {
            new.refused().await;
        }
    })
    .await;
    old.has_no_more_events();
    let updated = new.stop().await.start(Start::default());
    proxy.retarget(updated.address());
    let mut updated = updated;
    let (up, other_up) = (old.up().await, updated.up().await);
    talk(&mut old, &up.link, &mut updated, &other_up.link).await;
}

#[tokio::test]
async fn the_newer_listener_names_itself_when_it_is_the_old_one() {
    let (mut old, mut new) = (speaking(3..=3), speaking(4..=5));
    old.trusts(&new);
    new.trusts(&old);
    new.dials(&old, old.address());
    assert!(new.refused().await.contains("update file-sync on the listening device"));
    assert!(old.refused().await.contains("update file-sync on the listening device"));
}

#[tokio::test]
async fn devices_with_a_common_version_link() {
    let (mut old, mut new) = (speaking(3..=4), speaking(4..=5));
    old.trusts(&new);
    new.trusts(&old);
    old.dials(&new, new.address());
    let (up, other_up) = (old.up().await, new.up().await);
    talk(&mut old, &up.link, &mut new, &other_up.link).await;
}
