//! A paired member in a hostile hand: it has a key and a ticket like anybody, speaks the protocol by hand, and keeps to
//! none of its manners.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use file_sync_core::context::Context;
use file_sync_core::message::{
    Attach, Entries, Entry, Hello, Members, Message, Offer, PROTOCOL_VERSION, Terms,
};
use file_sync_core::path::SyncPath;
use file_sync_core::register::Register;
use file_sync_core::version::{
    Actor, Changed, Content, DeviceId, DirectoryId, Dot, Signature, Time, Value, Version,
};
use file_sync_net::{Identity, PairRequest, Ticket, pair};
use file_sync_wire::preamble::{Answer, Preamble, Role, decode_answer, encode_preamble};
use file_sync_wire::{decode_message, encode_message, signed_bytes};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};

use crate::device::Device;

/// Longer than anything may take on a machine that has much to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// The hostile device: a key, and the address of whom it was paired with.
pub struct Enemy {
    home: tempfile::TempDir,
    /// Its key.
    pub identity: Arc<Identity>,
    address: String,
}

/// One connection of it.
pub struct Line {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Enemy {
    /// Pairs with a device, as its user would have it.
    pub fn paired(host: &Device) -> Enemy {
        let home = tempfile::tempdir().expect("a temporary directory");
        let identity = Arc::new(Identity::load_or_create(home.path()).expect("a key"));
        Enemy { home, identity, address: host.address() }.paired_with(host)
    }

    /// Pairs it with another device, which it speaks to from then on.
    pub fn paired_with(self, host: &Device) -> Enemy {
        let ticket: Ticket = host.ok(["remote", "invite"]).trim_end().parse().expect("a ticket");
        let (name, addresses) = ("enemy".to_owned(), Vec::new());
        let request = PairRequest { ticket, name, addresses, timeout: PATIENCE, now_seconds: 0 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(pair(&self.identity, request)).expect("it is paired");
        Enemy { address: host.address(), ..self }
    }

    /// Its id.
    pub fn id(&self) -> DeviceId {
        self.identity.device_id()
    }

    /// Connects and says what it is for.
    pub fn dial(&self, role: Role) -> Line {
        let mut line = Line { stream: self.tls() };
        line.send(&encode_preamble(&Preamble {
            protocol_min: PROTOCOL_VERSION,
            protocol_max: PROTOCOL_VERSION,
            role,
        }));
        line
    }

    /// A link, hellos exchanged.
    pub fn link(&self, link: u64) -> Line {
        let mut line = self.dial(Role::Control { link, incarnation: link });
        let answer = line.frame().map(|bytes| decode_answer(&bytes).expect("an answer"));
        assert!(matches!(answer, Some(Answer::Accepted { .. })), "{answer:?}");
        line.say(&hello());
        let hello = line.hear();
        assert!(matches!(hello, Some(Message::Hello(_))), "{hello:?}");
        line
    }

    /// A content connection of a link.
    pub fn content(&self, link: u64) -> Line {
        let mut line = self.dial(Role::Content { link });
        let answer = line.frame().map(|bytes| decode_answer(&bytes).expect("an answer"));
        assert!(matches!(answer, Some(Answer::Accepted { .. })), "{answer:?}");
        line
    }

    /// A link, as a member of the first directory that it is offered.
    pub fn member(&self, link: u64) -> (Line, DirectoryId) {
        let mut line = self.link(link);
        let offers = line.until(|message| match message {
            Message::Offers(offers) => Some(offers),
            _ => None,
        });
        let directory = offers.first().expect("something is offered").directory;
        let terms = line.join(directory).expect("it may join");
        assert!(terms.members.contains_key(&self.id()));
        line.say(&Message::Attach(attach(directory)));
        (line, directory)
    }

    /// A version of its own, at a path where nothing was.
    pub fn version(&self, directory: &DirectoryId, path: &SyncPath, counter: u64, value: Value) -> Version {
        self.replacing(directory, path, unsigned(Actor { device: self.id(), epoch: 1 }, counter, value))
    }

    /// The same, of what it says itself that it had seen.
    pub fn replacing(&self, directory: &DirectoryId, path: &SyncPath, mut version: Version) -> Version {
        version.signature = Signature(Some(self.identity.sign(&signed_bytes(directory, path, &version))));
        version
    }

    fn tls(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let read = |name: &str| std::fs::read(self.home.path().join(name)).expect("its key is there");
        let certificate = CertificateDer::from_pem_slice(&read("identity.pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(&read("identity.key")).expect("a key");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_client_auth_cert(vec![certificate], key)
            .expect("its own certificate");
        let stream = TcpStream::connect(&self.address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time to wait");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time to wait");
        let name = ServerName::try_from("any").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        StreamOwned::new(session, stream)
    }
}

impl Line {
    /// Sends a frame; false if the other side no longer listens.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        let length = u32::try_from(bytes.len()).expect("a frame").to_be_bytes();
        self.send_raw(&[&length[..], bytes].concat())
    }

    /// Sends bytes; false if the other side no longer listens.
    pub fn send_raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Gives up on writing what is not taken within this time.
    pub fn write_within(&mut self, time: Duration) {
        self.stream.sock.set_write_timeout(Some(time)).expect("a time to wait");
    }

    /// Sends a message.
    pub fn say(&mut self, message: &Message) -> bool {
        self.send(&encode_message(message))
    }

    /// Announces entries, numbered from after this one; returns the last number.
    pub fn announce(&mut self, directory: DirectoryId, after: u64, entries: Vec<Entry>) -> u64 {
        let through = after + entries.len() as u64;
        let entries = Entries { directory, index_id: 1, after, through, latest: through, entries };
        self.say(&Message::Entries(entries));
        through
    }

    /// The next frame; none when the other side has closed.
    pub fn frame(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// So many raw bytes.
    pub fn raw(&mut self, n_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; n_bytes];
        self.stream.read_exact(&mut bytes).expect("they follow");
        bytes
    }

    /// The next message; keep-alive is passed over.
    pub fn hear(&mut self) -> Option<Message> {
        loop {
            match decode_message(&self.frame()?) {
                Ok(Message::Ping | Message::Pong) | Err(_) => {}
                Ok(message) => return Some(message),
            }
        }
    }

    /// The first thing heard that is looked for.
    pub fn until<T>(&mut self, look: impl Fn(Message) -> Option<T>) -> T {
        loop {
            let message = self.hear().expect("the link is up");
            if let Some(found) = look(message) {
                return found;
            }
        }
    }

    /// Asks to become a member.
    pub fn join(&mut self, directory: DirectoryId) -> Result<Terms, String> {
        self.say(&Message::Join { directory });
        self.until(|message| match message {
            Message::Joined { result, .. } => Some(result),
            _ => None,
        })
    }

    /// What it is offered.
    pub fn offers(&mut self) -> Vec<Offer> {
        self.until(|message| match message {
            Message::Offers(offers) => Some(offers),
            _ => None,
        })
    }

    /// Waits until all that was said before has been dealt with.
    pub fn barrier(&mut self, token: u64) {
        self.say(&Message::Barrier { token });
        self.until(|message| {
            matches!(message, Message::BarrierReached { token: reached } if reached == token).then_some(())
        });
    }

    /// Reads to the end.
    pub fn drain(mut self) {
        let mut bytes = Vec::new();
        // A connection that is just dropped is as well ended.
        let _ = self.stream.read_to_end(&mut bytes);
    }
}

/// What a device says first.
pub fn hello() -> Message {
    Message::Hello(Hello {
        protocol: PROTOCOL_VERSION,
        name: "enemy\n\u{1b}[2J".to_owned(),
        software: "enemy 1".to_owned(),
        incarnation: 5,
        addresses: vec!["999.1.1.1:0".to_owned(), "127.0.0.1:0".to_owned()],
    })
}

/// It takes part, and wants everything.
pub fn attach(directory: DirectoryId) -> Attach {
    Attach {
        directory,
        index_id: 1,
        sequence: 0,
        known_index_id: 0,
        known_sequence: 0,
        counters: Default::default(),
        receives_only: false,
        sends_only: false,
        members: Members::new(),
        incarnation: 0,
        known_incarnation: 0,
        heard_sequence: 0,
    }
}

/// A version that nobody has signed, at a path where nothing was.
pub fn unsigned(actor: Actor, counter: u64, value: Value) -> Version {
    Version {
        dot: Dot { actor, counter },
        value,
        rank: Time::default(),
        replaced: Vec::new(),
        heard: None,
        base: Content::Absent,
        changed: Changed::ALL,
        born_at: None,
        signature: Signature(None),
    }
}

/// An entry of one version.
pub fn entry(path: &SyncPath, version: Version) -> Entry {
    let register = Register::from_parts(vec![version], Context::default(), Vec::new());
    Entry { path: path.clone(), register, holds: true }
}

/// A path from text.
pub fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).expect("a good path")
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
