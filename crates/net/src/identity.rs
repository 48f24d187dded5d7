//! This device's key, and what it is good for: proving who this is, and signing versions.
//!
//! The key is an Ed25519 pair in `identity.key` (PKCS #8, PEM), with a self-signed certificate in `identity.pem`. Who
//! has the key is the device, so it is never made anew where there may have been one. The certificate follows from the
//! key, and says nothing else.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use file_sync_core::version::DeviceId;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::tls;

const KEY_FILE: &str = "identity.key";
const CERTIFICATE_FILE: &str = "identity.pem";
/// No key or certificate of ours is longer, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// This device's key pair and certificate.
pub struct Identity {
    key_pair: Ed25519KeyPair,
    key: PrivatePkcs8KeyDer<'static>,
    certificate: CertificateDer<'static>,
    public_key: [u8; 32],
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A file is there, but is not what it should be.
    #[error("{path} is damaged; put it back from a backup, or start with a new home and pair again", path = path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// The certificate is there without its key.
    #[error("{path} is missing although this home had one; put it back from a backup, or start with a new home and pair again", path = path.display())]
    KeyMissing {
        /// Which.
        path: PathBuf,
    },
    /// The certificate belongs to another key.
    #[error("{certificate} does not belong to the key beside it; put both back from one backup", certificate = certificate.display())]
    Mismatch {
        /// Which.
        certificate: PathBuf,
    },
    /// No key could be made.
    #[error("cannot make a key: {0}")]
    Generate(String),
}

impl Identity {
    /// Loads the identity of a home, or makes it durably where the home has neither key nor certificate.
    ///
    /// A missing certificate is made again from the key: a crash during the first start may leave the key alone.
    ///
    /// # Errors
    /// When a file cannot be read or written, is damaged, or the key is missing while the certificate is there.
    pub fn load_or_create(home: &Path) -> Result<Identity, IdentityError> {
        let key_path = home.join(KEY_FILE);
        let certificate_path = home.join(CERTIFICATE_FILE);
        let certificate = read(&certificate_path)?;
        let key = match (read(&key_path)?, &certificate) {
            (Some(text), _) => parse_key(&text, &key_path)?,
            (None, Some(_)) => return Err(IdentityError::KeyMissing { path: key_path }),
            (None, None) => {
                let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(generate_error)?;
                write_durably(home, KEY_FILE, pair.serialize_pem().as_bytes())?;
                pair
            }
        };
        let certificate = match certificate {
            Some(text) => CertificateDer::from_pem_slice(&text)
                .map_err(|_| IdentityError::Damaged { path: certificate_path.clone() })?,
            None => {
                let certificate = self_sign(&key)?;
                write_durably(home, CERTIFICATE_FILE, certificate.pem().as_bytes())?;
                certificate.der().clone()
            }
        };
        Identity::from_parts(&key, certificate, &key_path, &certificate_path)
    }

    fn from_parts(
        key: &KeyPair,
        certificate: CertificateDer<'static>,
        key_path: &Path,
        certificate_path: &Path,
    ) -> Result<Identity, IdentityError> {
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let key_pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der())
            .map_err(|_| IdentityError::Damaged { path: key_path.to_owned() })?;
        let damaged = || IdentityError::Damaged { path: certificate_path.to_owned() };
        let public_key: [u8; 32] =
            key_pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes");
        if tls::key_of(&certificate).map_err(|_| damaged())? != public_key {
            return Err(IdentityError::Mismatch { certificate: certificate_path.to_owned() });
        }
        Ok(Identity { key_pair, key, certificate, public_key })
    }

    /// The device's id: BLAKE3 of its public key.
    pub fn device_id(&self) -> DeviceId {
        device_id_of(&self.public_key)
    }

    /// The raw Ed25519 public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    /// The Ed25519 signature of these bytes by this device.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        let signature = self.key_pair.sign(bytes);
        signature.as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }

    pub(crate) fn key(&self) -> PrivatePkcs8KeyDer<'static> {
        self.key.clone_key()
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "identity of {:?}", self.device_id())
    }
}

/// True if this is the signature of these bytes by the owner of this raw Ed25519 public key.
pub fn verify(key: &[u8; 32], bytes: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(bytes, signature).is_ok()
}

/// The id of the device that owns this raw Ed25519 public key.
pub fn device_id_of(key: &[u8; 32]) -> DeviceId {
    DeviceId(*blake3::hash(key).as_bytes())
}

fn generate_error(error: rcgen::Error) -> IdentityError {
    IdentityError::Generate(error.to_string())
}

fn parse_key(text: &[u8], path: &Path) -> Result<KeyPair, IdentityError> {
    let damaged = || IdentityError::Damaged { path: path.to_owned() };
    let der = PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|_| damaged())?;
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519).map_err(|_| damaged())
}

fn self_sign(key: &KeyPair) -> Result<rcgen::Certificate, IdentityError> {
    let mut parameters = CertificateParams::default();
    // Constant, so that a certificate says nothing of the machine or of when it was made.
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, "file-sync");
    parameters.self_signed(key).map_err(generate_error)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, IdentityError> {
    let error = |source| IdentityError::Io { action: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(error(source)),
    };
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(error)?;
    Ok(Some(text))
}

fn write_durably(home: &Path, name: &str, text: &[u8]) -> Result<(), IdentityError> {
    let path = home.join(name);
    let staged = home.join(format!("{name}.new"));
    let error = |action, path: &Path, source| IdentityError::Io { action, path: path.to_owned(), source };
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&staged)
        .map_err(|source| error("create", &staged, source))?;
    // The mode above is not for a file that a crash left behind.
    file.set_permissions(PermissionsExt::from_mode(0o600))
        .and_then(|()| file.write_all(text))
        .and_then(|()| file.sync_all())
        .map_err(|source| error("write", &staged, source))?;
    std::fs::rename(&staged, &path).map_err(|source| error("create", &path, source))?;
    File::open(home).and_then(|directory| directory.sync_all()).map_err(|source| error("write", home, source))
}
