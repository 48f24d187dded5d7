//! A device's key: made once, kept private, never made anew.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use file_sync_net::{Identity, IdentityError, device_id_of, verify};

#[test]
fn an_identity_is_made_once_and_private() {
    let home = tempfile::tempdir().unwrap();
    let made = Identity::load_or_create(home.path()).unwrap();
    let loaded = Identity::load_or_create(home.path()).unwrap();
    assert_eq!(made.device_id(), loaded.device_id());
    assert_eq!(device_id_of(&made.public_key()), made.device_id());
    let key = fs::metadata(home.path().join("identity.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(Identity::load_or_create(other.path()).unwrap().device_id(), made.device_id());
}

#[test]
fn h5_a_signature_is_good_for_one_key_and_one_text() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) =
        (Identity::load_or_create(one.path()).unwrap(), Identity::load_or_create(two.path()).unwrap());
    let mut signature = one.sign(b"text");
    assert!(verify(&one.public_key(), b"text", &signature));
    assert!(!verify(&one.public_key(), b"test", &signature));
    assert!(!verify(&two.public_key(), b"text", &signature));
    assert!(!verify(&[0xff; 32], b"text", &signature));
    signature[0] ^= 1;
    assert!(!verify(&one.public_key(), b"text", &signature));
}

#[test]
fn c1_a_first_start_that_was_cut_off_is_finished() {
    let home = tempfile::tempdir().unwrap();
    let made = Identity::load_or_create(home.path()).unwrap();
    fs::remove_file(home.path().join("identity.pem")).unwrap();
    fs::write(home.path().join("identity.pem.new"), "half").unwrap();
    assert_eq!(Identity::load_or_create(home.path()).unwrap().device_id(), made.device_id());
    assert!(home.path().join("identity.pem").exists());
}

#[test]
fn h5_a_lost_or_damaged_key_is_not_made_anew() {
    let home = tempfile::tempdir().unwrap();
    Identity::load_or_create(home.path()).unwrap();
    let (key, certificate) = (home.path().join("identity.key"), home.path().join("identity.pem"));
    let text = fs::read(&key).unwrap();
    fs::write(&key, &text[..text.len() / 2]).unwrap();
    assert!(
        matches!(Identity::load_or_create(home.path()), Err(IdentityError::Damaged { path }) if path == key)
    );
    fs::write(&key, "").unwrap();
    assert!(matches!(Identity::load_or_create(home.path()), Err(IdentityError::Damaged { .. })));
    fs::remove_file(&key).unwrap();
    assert!(
        matches!(Identity::load_or_create(home.path()), Err(IdentityError::KeyMissing { path }) if path == key)
    );
    assert!(!key.exists());

    fs::write(&key, &text).unwrap();
    fs::write(&certificate, "damaged").unwrap();
    assert!(
        matches!(Identity::load_or_create(home.path()), Err(IdentityError::Damaged { path }) if path == certificate)
    );
    let other = tempfile::tempdir().unwrap();
    Identity::load_or_create(other.path()).unwrap();
    fs::copy(other.path().join("identity.pem"), &certificate).unwrap();
    assert!(matches!(Identity::load_or_create(home.path()), Err(IdentityError::Mismatch { .. })));
    assert_eq!(fs::read(&key).unwrap(), text);
}
