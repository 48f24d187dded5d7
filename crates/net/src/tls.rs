//! TLS 1.3 between devices: both sides show a self-signed certificate, of which only the key counts.
//!
//! The dialer expects one device and talks to no other. The listener lets anyone finish the handshake who has a
//! well-formed certificate and its key, and decides afterwards. There are no authorities, names, dates or resumed
//! sessions.

use std::sync::Arc;

use file_sync_core::version::DeviceId;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, ServerConfig,
    SignatureScheme,
};
use x509_parser::oid_registry::OID_SIG_ED25519;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::{Identity, device_id_of, verify};

/// The raw Ed25519 public key of a certificate that is well-formed and says that it is signed with Ed25519.
pub(crate) fn key_of(certificate: &CertificateDer<'_>) -> Result<[u8; 32], Error> {
    let refuse = |why: &str| Error::General(why.to_owned());
    let (rest, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| refuse("malformed certificate"))?;
    if !rest.is_empty() {
        return Err(refuse("bytes after the certificate"));
    }
    let key = &certificate.tbs_certificate.subject_pki;
    if certificate.signature_algorithm.algorithm != OID_SIG_ED25519
        || key.algorithm.algorithm != OID_SIG_ED25519
    {
        return Err(refuse("certificate without an Ed25519 key"));
    }
    key.subject_public_key.data[..].try_into().map_err(|_| refuse("key without 32 bytes"))
}

/// What a listener uses.
pub(crate) fn server_config(identity: &Identity) -> Result<ServerConfig, Error> {
    let verifier = Arc::new(KeyVerifier::new(None));
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&verifier.provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![identity.certificate()], identity.key().into())?;
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// What a dialer uses that wants to talk to this device and no other.
pub(crate) fn client_config(identity: &Identity, expected: DeviceId) -> Result<ClientConfig, Error> {
    let verifier = Arc::new(KeyVerifier::new(Some(expected)));
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&verifier.provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(vec![identity.certificate()], identity.key().into())?;
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The name that a TLS client must state; it is not sent.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from("file-sync").expect("a valid name")
}

/// The marker by which a dialer knows that another device answered.
pub(crate) const OTHER_DEVICE: &str = "another device answers at this address";

#[derive(Debug)]
struct KeyVerifier {
    expected: Option<DeviceId>,
    provider: Arc<CryptoProvider>,
}

impl KeyVerifier {
    fn new(expected: Option<DeviceId>) -> KeyVerifier {
        KeyVerifier { expected, provider: Arc::new(ring::default_provider()) }
    }

    fn check_certificate(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        if !intermediates.is_empty() {
            return Err(Error::General("more than one certificate".to_owned()));
        }
        let device = device_id_of(&key_of(certificate)?);
        match self.expected {
            Some(expected) if expected != device => Err(Error::General(OTHER_DEVICE.to_owned())),
            _ => Ok(()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signed.scheme != SignatureScheme::ED25519 {
            return Err(Error::General("handshake signed with something else than Ed25519".to_owned()));
        }
        // Checked also with the key as we read it: two parsers of one certificate must not be made to disagree.
        let signature: &[u8; 64] =
            signed.signature().try_into().map_err(|_| Error::General("malformed signature".to_owned()))?;
        if !verify(&key_of(certificate)?, message, signature) {
            return Err(Error::General("handshake signed with another key".to_owned()));
        }
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_certificate(certificate, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for KeyVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_certificate(certificate, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
