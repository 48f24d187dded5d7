//! Islands: nothing leads off them but a proxy.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use file_sync_proxy::{Island, Proxy};

use crate::{echo, exchange};

#[test]
fn an_address_of_one_island_is_the_proxy_on_another() {
    let (Ok(from), Ok(to)) = (Island::new(), Island::new()) else {
        println!("skipped: islands need root, unshare(1) and ip(8)");
        return;
    };
    let to = Arc::new(to);
    let address = SocketAddr::from(([127, 0, 0, 1], 4_000));
    let listener = to.enter(|| TcpListener::bind(address)).unwrap().unwrap();
    echo(listener);
    let dial = || from.enter(|| TcpStream::connect(address)).unwrap();
    assert!(dial().is_err(), "there is a way around the proxy");
    let proxy = Proxy::between(&from, &to, address, 1).unwrap();
    assert_eq!(exchange(&mut dial().unwrap(), b"hello").unwrap(), b"hello");
    assert_eq!(proxy.counts().accepted, 1);
    drop(proxy);
    assert!(dial().is_err());
}
