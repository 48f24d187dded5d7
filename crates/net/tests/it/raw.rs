//! Both ends of a connection without any of the crate's manners: what a hostile device can do.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use file_sync_core::message::PROTOCOL_VERSION;
use file_sync_core::message::{Hello, Message};
use file_sync_wire::content::{
    ContentFrame, ContentPiece, ContentRequest, decode_content_frame, encode_content_frame,
};
use file_sync_wire::preamble::{Answer, Preamble, Role, decode_answer, encode_preamble};
use file_sync_wire::{decode_message, encode_message};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::device::{Home, soon};

/// A TLS connection to a device, and no more.
pub(crate) struct Raw {
    pub(crate) stream: TlsStream<TcpStream>,
}

/// A link's number, of the raw side's choosing.
pub(crate) const LINK: u64 = 77;

/// Connects to an address from one of loopback's many.
pub(crate) async fn tcp(from: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::V4(Ipv4Addr::new(127, 0, 0, from)), 0).into()).unwrap();
    soon(socket.connect(to)).await.unwrap()
}

/// What a device shows by default.
pub(crate) fn config(home: &Home) -> ClientConfig {
    let path = |name: &str| home.directory.path().join(name);
    let certificate = CertificateDer::from_pem_slice(&read(&path("identity.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&read(&path("identity.key"))).unwrap();
    config_with(Some((certificate, key)))
}

pub(crate) fn config_with(shown: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    match shown {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => builder.with_no_client_auth(),
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

/// One frame, as it is written.
pub(crate) fn frame(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

pub(crate) fn hello() -> Message {
    Message::Hello(Hello {
        protocol: 1,
        name: "raw\n".to_owned(),
        software: "raw 1".to_owned(),
        incarnation: 5,
        addresses: vec![],
    })
}

impl Raw {
    pub(crate) async fn connect(home: &Home, to: SocketAddr) -> Raw {
        Raw::connect_with(config(home), tcp(1, to).await).await.unwrap()
    }

    pub(crate) async fn connect_with(config: ClientConfig, stream: TcpStream) -> io::Result<Raw> {
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("any").unwrap();
        Ok(Raw { stream: soon(connector.connect(name, stream)).await? })
    }

    /// Connects as a paired device and opens a link.
    pub(crate) async fn link(home: &Home, to: SocketAddr) -> Raw {
        let mut raw = Raw::asking(home, to, Role::Control { link: LINK, incarnation: 5 }).await;
        assert!(matches!(raw.answer().await, Some(Answer::Accepted { .. })));
        raw.send(&encode_message(&hello())).await;
        assert!(matches!(raw.message().await, Some(Message::Hello(_))));
        raw
    }

    /// Connects and opens a content connection of the link.
    pub(crate) async fn content(home: &Home, to: SocketAddr) -> Raw {
        let mut raw = Raw::asking(home, to, Role::Content { link: LINK }).await;
        assert!(matches!(raw.answer().await, Some(Answer::Accepted { .. })));
        raw
    }

    pub(crate) async fn asking(home: &Home, to: SocketAddr, role: Role) -> Raw {
        let mut raw = Raw::connect(home, to).await;
        raw.send(&encode_preamble(&Preamble {
            protocol_min: PROTOCOL_VERSION,
            protocol_max: PROTOCOL_VERSION,
            role,
        }))
        .await;
        raw
    }

    /// Sends a frame, if the other side still listens.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.send_bytes(&frame(bytes)).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        // Whoever is cut off while it misbehaves has got what the test wants.
        _ = soon(self.stream.write_all(bytes)).await;
        _ = soon(self.stream.flush()).await;
    }

    pub(crate) async fn send_content(&mut self, frame: ContentFrame) {
        self.send(&encode_content_frame(&frame)).await;
    }

    pub(crate) async fn send_piece(&mut self, piece: ContentPiece, data: &[u8]) {
        let piece = ContentPiece { data_bytes: data.len() as u32, ..piece };
        let header = frame(&encode_content_frame(&ContentFrame::Piece(piece)));
        self.send_bytes(&[&header[..], data].concat()).await;
    }

    /// The next frame; none when the other side has closed.
    pub(crate) async fn frame(&mut self) -> Option<Vec<u8>> {
        let length = soon(self.stream.read_u32()).await.ok()?;
        let mut bytes = vec![0; length as usize];
        soon(self.stream.read_exact(&mut bytes)).await.ok()?;
        Some(bytes)
    }

    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        Some(decode_answer(&self.frame().await?).unwrap())
    }

    /// The next message; keep-alive is passed over.
    pub(crate) async fn message(&mut self) -> Option<Message> {
        loop {
            match decode_message(&self.frame().await?).unwrap() {
                Message::Ping | Message::Pong => {}
                message => return Some(message),
            }
        }
    }

    /// The next request; all else is passed over, but for bytes after pieces.
    pub(crate) async fn request(&mut self) -> Option<ContentRequest> {
        loop {
            match decode_content_frame(&self.frame().await?).unwrap() {
                ContentFrame::Request(request) => return Some(request),
                ContentFrame::Piece(piece) => panic!("{piece:?}"),
                _ => {}
            }
        }
    }

    /// Reads to the end, and returns how many bytes came.
    pub(crate) async fn drained(mut self) -> usize {
        let mut bytes = Vec::new();
        // A connection that is just dropped is as well ended.
        _ = soon(self.stream.read_to_end(&mut bytes)).await;
        bytes.len()
    }
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
