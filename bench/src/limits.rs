//! What the machine itself can do: the same work with nothing of a synchroniser around it, so that the distance is seen.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde::{Deserialize, Serialize};

use crate::plan::Size;

/// What is hashed and sent a call.
const PIECE_BYTES: usize = 1 << 20;

/// One thing that the machine can do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Limit {
    /// What.
    pub what: String,
    /// Bytes that were treated.
    pub bytes: u64,
    /// Files, where it is about files.
    pub n_files: u64,
    /// The best of three.
    pub wall_s: f64,
}

/// Measures everything, with as many bytes and files as the scenarios have.
///
/// # Errors
/// When the disk or loopback fails.
pub fn measure(directory: &Path, size: Size) -> Result<Vec<Limit>> {
    let (bytes, n_files) = match size {
        Size::Tiny => (1_u64 << 20, 20_u64),
        Size::Quick => (64 << 20, 1_000),
        Size::Full => (1 << 30, 10_000),
    };
    let place = tempfile::Builder::new().prefix("file-sync-bench-limits-").tempdir_in(directory)?;
    let mut from = vec![0; PIECE_BYTES];
    blake3::Hasher::new().update(b"limits").finalize_xof().fill(&mut from);
    let mut to = vec![0; PIECE_BYTES];
    let n_pieces = usize::try_from(bytes)? / PIECE_BYTES;
    let limit = |what: &str, n_files, wall_s| Limit { what: what.to_owned(), bytes, n_files, wall_s };
    let large = place.path().join("large");
    Ok(vec![
        limit("copy in memory, 1 MiB at a time", 0, best(|| copy(&from, &mut to, n_pieces))?),
        limit("hash with BLAKE3, one thread", 0, best(|| hash_blake3(&from, n_pieces))?),
        limit("hash with SHA-256, one thread", 0, best(|| hash_sha256(&from, n_pieces))?),
        limit("send over TCP on loopback", 0, best(|| send_plain(&from, n_pieces))?),
        limit("send over TLS 1.3 on loopback, AES-128-GCM", 0, best(|| send_encrypted(&from, n_pieces))?),
        limit("write one file and sync it", 1, best(|| write_large(&large, &from, n_pieces))?),
        limit("read it back", 1, best(|| read_large(&large))?),
        Limit {
            what: "write files of 4 KiB and sync the file system".to_owned(),
            bytes: n_files * 4096,
            n_files,
            wall_s: best(|| write_small(place.path(), &from, n_files))?,
        },
    ])
}

/// The quickest of three, in seconds.
fn best(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        work()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn copy(from: &[u8], to: &mut [u8], n_pieces: usize) -> Result<()> {
    for _ in 0..n_pieces {
        to.copy_from_slice(std::hint::black_box(from));
        std::hint::black_box(&mut *to);
    }
    Ok(())
}

fn hash_blake3(piece: &[u8], n_pieces: usize) -> Result<()> {
    let mut hasher = blake3::Hasher::new();
    for _ in 0..n_pieces {
        hasher.update(piece);
    }
    std::hint::black_box(hasher.finalize());
    Ok(())
}

fn hash_sha256(piece: &[u8], n_pieces: usize) -> Result<()> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for _ in 0..n_pieces {
        context.update(piece);
    }
    std::hint::black_box(context.finish());
    Ok(())
}

fn write_large(path: &Path, piece: &[u8], n_pieces: usize) -> Result<()> {
    let mut file = File::create(path)?;
    for _ in 0..n_pieces {
        file.write_all(piece)?;
    }
    Ok(file.sync_all()?)
}

fn read_large(path: &Path) -> Result<()> {
    let (mut file, mut buffer) = (File::open(path)?, vec![0; PIECE_BYTES]);
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

fn write_small(directory: &Path, piece: &[u8], n_files: u64) -> Result<()> {
    let place = tempfile::tempdir_in(directory)?;
    for number in 0..n_files {
        std::fs::write(place.path().join(number.to_string()), &piece[..4096])?;
    }
    Ok(rustix::fs::syncfs(File::open(place.path())?)?)
}

fn send_plain(piece: &[u8], n_pieces: usize) -> Result<()> {
    send(piece, n_pieces, Ok, Ok)
}

fn send_encrypted(piece: &[u8], n_pieces: usize) -> Result<()> {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = CertificateDer::from(key.cert.der().to_vec());
    let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let server = ServerConfig::builder().with_no_client_auth();
    let server = Arc::new(server.with_single_cert(vec![certificate.clone()], secret)?);
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let mut client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    client.resumption = rustls::client::Resumption::disabled();
    let client = Arc::new(client);
    let near = |stream| {
        let connection = ClientConnection::new(Arc::clone(&client), ServerName::try_from("localhost")?)?;
        Ok(StreamOwned::new(connection, stream))
    };
    let far = |stream| Ok(StreamOwned::new(ServerConnection::new(Arc::clone(&server))?, stream));
    send(piece, n_pieces, near, far)
}

/// Sends from one thread to another, and waits for a byte back.
fn send<N: Read + Write, F: Read + Write>(
    piece: &[u8],
    n_pieces: usize,
    near: impl FnOnce(TcpStream) -> Result<N>,
    far: impl FnOnce(TcpStream) -> Result<F> + Send,
) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let n_bytes = (piece.len() * n_pieces) as u64;
    std::thread::scope(|scope| {
        let receiving = scope.spawn(move || {
            let mut far = far(listener.accept()?.0)?;
            io::copy(&mut Read::by_ref(&mut far).take(n_bytes), &mut io::sink())?;
            far.write_all(b"!")?;
            Ok::<_, anyhow::Error>(far.flush()?)
        });
        let mut near = near(TcpStream::connect(address)?)?;
        for _ in 0..n_pieces {
            near.write_all(piece)?;
        }
        near.flush()?;
        near.read_exact(&mut [0]).context("nothing came back")?;
        receiving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
