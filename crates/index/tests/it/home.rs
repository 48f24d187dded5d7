//! The server's database: what is unique stays so, and an invitation is good once.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use file_sync_core::version::DirectoryId;
use file_sync_index::{Directory, HomeIndex, IndexError, Invitation, Mode, Remote, RemoteSync, Role};

use crate::samples::device;

fn directory(number: u8) -> Directory {
    Directory {
        directory: DirectoryId([number; 16]),
        created_at: 100,
        updated_at: 200,
        path: PathBuf::from(OsStr::from_bytes(b"/d/\xff")).join(number.to_string()),
        name: format!("name \u{1f980} {number}"),
        role: Role::Synced,
        mode: Mode::ReceiveOnly,
        read_only: true,
        only_author: Some(device(8)),
        origin: Some(device(9)),
        origin_name: Some("theirs".to_owned()),
        paused: true,
        offered_to: [device(1), device(2)].into(),
        deleted: false,
    }
}

fn remote(number: u8) -> Remote {
    Remote {
        device: device(number),
        name: format!("remote {number}"),
        key: [number; 32],
        addresses: vec!["[::1]:4".to_owned(), "10.0.0.1:5".to_owned()],
        last_seen: None,
        paired_at: 300,
        deleted: false,
    }
}

fn invitation(number: u8) -> Invitation {
    Invitation { secret_hash: [number; 32], created_at: 100, expires_at: 200, used_by: None }
}

#[test]
fn c1_a_home_is_found_again_after_a_restart() {
    let home = tempfile::tempdir().expect("a directory");
    let mut index = HomeIndex::open(home.path()).expect("created");
    assert!(index.is_new());
    let offered = Directory {
        role: Role::Offered,
        mode: Mode::TwoWay,
        origin: None,
        origin_name: None,
        only_author: None,
        offered_to: [].into(),
        ..directory(2)
    };
    index.insert_directory(&directory(1)).expect("inserted");
    index.insert_directory(&offered).expect("inserted");
    index.insert_remote(&remote(1)).expect("inserted");
    let sync = RemoteSync {
        directory: DirectoryId([1; 16]),
        device: device(1),
        their_index_id: u64::MAX,
        their_sequence_merged: 2,
        our_sequence_acknowledged: 3,
    };
    index.put_remote_sync(&sync).expect("noted");
    assert!(matches!(
        index.put_remote_sync(&RemoteSync { device: device(7), ..sync }),
        Err(IndexError::Unknown { .. })
    ));
    index.insert_invitation(&invitation(1)).expect("inserted");
    index.set_setting("name", "laptop").expect("set");
    index.set_setting("name", "desk").expect("set");
    let several = [("one", "1"), ("two", "2"), ("two", "3")];
    let several = several.map(|(key, value)| (key.to_owned(), value.to_owned()));
    index.set_settings(&several).expect("set");
    index.add_incarnation(u64::MAX, 1).expect("added");
    index.add_incarnation(3, 2).expect("added");
    index.close(true).expect("closed");

    let mut index = HomeIndex::open(home.path()).expect("opened");
    assert!(!index.is_new());
    assert_eq!(index.directories().expect("read"), [directory(1), offered]);
    assert_eq!(index.directory(&DirectoryId([1; 16])).expect("read"), Some(directory(1)));
    assert_eq!(index.directory(&DirectoryId([7; 16])).expect("read"), None);
    assert_eq!(index.remotes().expect("read"), [remote(1)]);
    assert_eq!(index.remote_syncs().expect("read"), [sync]);
    assert_eq!(index.invitations().expect("read"), [invitation(1)]);
    assert_eq!(index.setting("name").expect("read").as_deref(), Some("desk"));
    assert_eq!(index.setting("one").expect("read").as_deref(), Some("1"));
    assert_eq!(index.setting("two").expect("read").as_deref(), Some("3"));
    assert_eq!(index.setting("other").expect("read"), None);
    assert_eq!(index.incarnations().expect("read"), [u64::MAX, 3]);
    index.delete_remote_sync(&sync.directory, &sync.device).expect("forgotten");
    assert_eq!(index.remote_syncs().expect("read"), []);
    index.checkpoint().expect("checkpointed");
}

#[test]
fn names_paths_and_ids_of_directories_are_unique_while_they_are_in_use() {
    let home = tempfile::tempdir().expect("a directory");
    let mut index = HomeIndex::open(home.path()).expect("created");
    index.insert_directory(&directory(1)).expect("inserted");
    let same_name = Directory { name: directory(1).name, ..directory(2) };
    let same_path = Directory { path: directory(1).path, ..directory(2) };
    for (taken, word) in
        [(&same_name, "the name"), (&same_path, "the path"), (&directory(1), "the directory")]
    {
        let error = index.insert_directory(taken).expect_err("refused");
        assert!(error.to_string().starts_with(word), "{error}");
        assert!(matches!(error, IndexError::Taken { .. }), "{error}");
    }
    index.insert_directory(&directory(2)).expect("inserted");
    assert!(matches!(index.update_directory(&same_name), Err(IndexError::Taken { .. })));
    assert!(matches!(index.update_directory(&directory(3)), Err(IndexError::Unknown { .. })));
    assert_eq!(index.directories().expect("read"), [directory(1), directory(2)]);

    index.delete_directory(&DirectoryId([1; 16]), 500).expect("deleted");
    assert!(matches!(index.delete_directory(&DirectoryId([1; 16]), 501), Err(IndexError::Unknown { .. })));
    let deleted = Directory { deleted: true, updated_at: 500, ..directory(1) };
    assert_eq!(index.directories().expect("read")[0], deleted);
    index.update_directory(&same_name).expect("the name is free now");
    // Offered again, elsewhere and under another name, it is the same directory.
    let again = Directory { directory: DirectoryId([1; 16]), offered_to: [device(5)].into(), ..directory(3) };
    index.insert_directory(&again).expect("inserted");
    assert_eq!(index.directories().expect("read"), [again, same_name]);
}

#[test]
fn remotes_are_unique_while_they_are_paired() {
    let home = tempfile::tempdir().expect("a directory");
    let mut index = HomeIndex::open(home.path()).expect("created");
    index.insert_remote(&remote(1)).expect("inserted");
    let same_name = Remote { name: remote(1).name, ..remote(2) };
    for (taken, word) in [(&same_name, "the name"), (&remote(1), "the remote")] {
        let error = index.insert_remote(taken).expect_err("refused");
        assert!(error.to_string().starts_with(word), "{error}");
    }
    index.set_last_seen(&device(1), 900).expect("noted");
    let moved = Remote { addresses: vec!["new:1".to_owned()], last_seen: Some(900), ..remote(1) };
    index.update_remote(&moved).expect("updated");
    assert_eq!(index.remote(&device(1)).expect("read"), Some(moved));
    assert!(matches!(index.update_remote(&remote(2)), Err(IndexError::Unknown { .. })));
    assert!(matches!(index.set_last_seen(&device(2), 1), Err(IndexError::Unknown { .. })));
    index.delete_remote(&device(1)).expect("removed");
    assert!(matches!(index.delete_remote(&device(1)), Err(IndexError::Unknown { .. })));
    index.insert_remote(&same_name).expect("the name is free now");
    let again = Remote { name: "again".to_owned(), paired_at: 999, ..remote(1) };
    index.insert_remote(&again).expect("paired again");
    assert_eq!(index.remotes().expect("read"), [again, same_name]);
}

#[test]
fn h4_removing_a_remote_never_widens_an_offer() {
    let home = tempfile::tempdir().expect("a directory");
    let mut index = HomeIndex::open(home.path()).expect("created");
    index.insert_remote(&remote(1)).expect("inserted");
    index.insert_remote(&remote(2)).expect("inserted");
    index.insert_directory(&directory(1)).expect("inserted");
    for device_number in [1, 2] {
        index.delete_remote(&device(device_number)).expect("removed");
        assert_eq!(index.directories().expect("read")[0].offered_to, [device(2)].into());
    }
}

#[test]
fn h2_an_invitation_is_good_once_and_only_in_time() {
    let home = tempfile::tempdir().expect("a directory");
    let mut index = HomeIndex::open(home.path()).expect("created");
    index.insert_invitation(&invitation(1)).expect("inserted");
    assert!(matches!(index.insert_invitation(&invitation(1)), Err(IndexError::Taken { .. })));
    assert!(!index.redeem_invitation(&[1; 32], &device(1), 200).expect("answered"), "too late");
    assert!(!index.redeem_invitation(&[2; 32], &device(1), 150).expect("answered"), "unknown");
    assert!(index.redeem_invitation(&[1; 32], &device(1), 199).expect("answered"));
    assert!(!index.redeem_invitation(&[1; 32], &device(1), 199).expect("answered"), "used");
    assert_eq!(index.invitations().expect("read")[0].used_by, Some(device(1)));
    assert_eq!(index.drop_invitations(200).expect("dropped"), 0);
    assert_eq!(index.drop_invitations(201).expect("dropped"), 1);
}

#[test]
fn h2_of_two_who_use_an_invitation_at_once_one_is_paired() {
    let home = tempfile::tempdir().expect("a directory");
    HomeIndex::open(home.path()).expect("created").insert_invitation(&invitation(1)).expect("inserted");
    let indexes = [1, 2].map(|number| (number, HomeIndex::open(home.path()).expect("opened")));
    let barrier = std::sync::Barrier::new(2);
    let wins = std::thread::scope(|scope| {
        let threads = indexes.map(|(number, mut index)| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                index.pair_by_invitation(&[1; 32], &remote(number), 150).expect("answered")
            })
        });
        threads.map(|thread| thread.join().expect("no panic"))
    });
    assert_eq!(wins.iter().filter(|won| **won).count(), 1);
    let index = HomeIndex::open(home.path()).expect("opened");
    let remotes = index.remotes().expect("read");
    assert_eq!(remotes.len(), 1);
    assert_eq!(index.invitations().expect("read")[0].used_by, Some(remotes[0].device));
}

#[test]
fn an_invitation_is_not_used_up_by_a_pairing_that_fails() {
    let home = tempfile::tempdir().expect("a directory");
    let mut index = HomeIndex::open(home.path()).expect("created");
    index.insert_invitation(&invitation(1)).expect("inserted");
    index.insert_remote(&remote(1)).expect("inserted");
    let same_name = Remote { name: remote(1).name, ..remote(2) };
    assert!(matches!(index.pair_by_invitation(&[1; 32], &same_name, 150), Err(IndexError::Taken { .. })));
    assert!(index.pair_by_invitation(&[1; 32], &remote(2), 150).expect("answered"));
    assert!(!index.pair_by_invitation(&[1; 32], &remote(3), 150).expect("answered"));
    assert_eq!(index.remotes().expect("read"), [remote(1), remote(2)]);
}

#[test]
fn c5_incarnations_and_acts_are_only_ever_added_to() {
    let home = tempfile::tempdir().expect("a directory");
    let mut index = HomeIndex::open(home.path()).expect("created");
    index.add_incarnation(1, 1).expect("added");
    index.close(true).expect("closed");
    let connection = rusqlite::Connection::open(home.path().join("home.db")).expect("opened");
    assert!(connection.execute("DELETE FROM incarnations", []).is_err());
    assert!(connection.execute("UPDATE incarnations SET incarnation = 2", []).is_err());
}
