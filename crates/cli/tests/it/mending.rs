//! What is said of trouble with permissions: whose item it is, and a command that mends that and nothing else.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::process::Command;

use serde_json::json;

use crate::device::Device;
use crate::trouble::{NOBODY, listed, sharing_as};
use crate::world::{FEBRUARY, JANUARY, directory_becomes, equal, path_of, settle};

/// What mends it as `doctor` says, of the one path in trouble below `docs`.
fn mend_of_path(device: &Device, path: &str) -> String {
    let output = device.run(["doctor", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
    let findings = document["findings"].as_array().expect("findings");
    let finding = findings.iter().find(|finding| {
        finding["check"] == "path" && finding["message"].as_str().is_some_and(|said| said.contains(path))
    });
    let mend = finding.unwrap_or_else(|| panic!("{path}: {document}"))["mend"].clone();
    mend.as_str().expect("a command").to_owned()
}

#[test]
fn c7_trouble_with_permissions_names_owner_and_mode_and_the_command_that_mends_it() {
    let Some((alpha, beta)) = sharing_as("whose file is in trouble", [Some(NOBODY), None]) else { return };
    // Of somebody else, by its owner alone; the server's own, by its mode alone. A shell takes neither name as it is.
    let (others, own) = ("it's $(touch x); others", "-own \\x20file");
    for name in [others, own] {
        alpha.user().write(name, "bytes", JANUARY);
        alpha.user().chmod(name, 0o600);
    }
    chown(alpha.user().path(own), Some(NOBODY), Some(NOBODY)).expect("root may give a file away");
    alpha.user().chmod(own, 0o200);
    for (name, said, command) in [
        (others, "it belongs to root, mode 600, and the server runs as nobody", "sudo chown -h -- nobody "),
        (own, "it belongs to nobody, mode 200, and the server runs as nobody", "chmod u+r -- "),
    ] {
        listed(&alpha, name, true);
        let path = alpha.user().path(name);
        let status = alpha.ok(["status"]);
        assert!(status.contains(said), "{status}");
        let why = alpha.json(["why", path.to_str().expect("UTF-8")]);
        assert_eq!(why["reason"], "trouble", "{why}");
        assert!(why["explanation"].as_str().is_some_and(|why| why.contains(said)), "{why}");
        let mend = mend_of_path(&alpha, name);
        assert_eq!((why["mend"].as_str(), mend.starts_with(command)), (Some(mend.as_str()), true), "{mend}");
        // The test is root itself.
        let mend = mend.replace("sudo ", "");
        assert!(Command::new("bash").args(["-c", &mend]).status().expect("bash").success(), "{mend}");
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    directory_becomes(&alpha, "errors", json!([]));
    assert_eq!((beta.user().read(others), beta.user().read(own)), (b"bytes".to_vec(), b"bytes".to_vec()));
}

/// A command for a symlink would change what it leads to, and one for a file with several names what is elsewhere.
#[test]
fn c7_no_command_is_told_that_would_change_anything_else() {
    let Some((alpha, beta)) = sharing_as("what no command mends", [Some(NOBODY), None]) else { return };
    alpha.user().mkdir("shared");
    fs::write(alpha.beside("outside"), "another's").expect("a file");
    fs::write(alpha.user().path("shared/two"), "two").expect("a file");
    fs::hard_link(alpha.user().path("shared/two"), alpha.beside("second")).expect("a second name");
    fs::write(alpha.user().path("shared/one"), "one").expect("a file");
    symlink(alpha.beside("outside"), alpha.user().path("shared/link")).expect("a symlink");
    settle(&[&alpha, &beta]);
    // From here on only their owner may take away what lies there, on alpha.
    alpha.user().chmod("shared", 0o1777);
    settle(&[&alpha, &beta]);
    for name in ["one", "two", "link"] {
        fs::remove_file(beta.user().path(format!("shared/{name}"))).expect("it was there");
    }
    for (name, command) in [("one", true), ("two", false), ("link", false)] {
        let name = format!("shared/{name}");
        listed(&alpha, &name, true);
        let why = alpha.json(["why", &path_of(&alpha, &name)]);
        assert_eq!(why["reason"], "trouble", "{why}");
        let said = why["explanation"].as_str().expect("a sentence");
        assert!(said.contains("it belongs to root, mode "), "{said}");
        let expected = format!("sudo chown -h -- nobody {}", path_of(&alpha, &name));
        assert_eq!(why.get("mend"), command.then(|| json!(expected)).as_ref(), "{why}");
    }
    chown(alpha.user().path("shared"), Some(NOBODY), Some(NOBODY)).expect("root may give a directory away");
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert_eq!(fs::read(alpha.beside("outside")).ok().as_deref(), Some(&b"another's"[..]));
}

/// The item that is in the way is named, and not the one that the op is about.
#[test]
fn c7_a_directory_that_is_in_the_way_is_named() {
    let Some((alpha, beta)) = sharing_as("a directory in the way", [Some(NOBODY), None]) else { return };
    alpha.user().mkdir("of-root");
    alpha.user().write("moved", "bytes", JANUARY);
    settle(&[&alpha, &beta]);
    beta.user().rename("moved", "of-root/moved");
    beta.user().write("of-root/new", "bytes", FEBRUARY);
    for name in ["of-root/moved", "of-root/new"] {
        listed(&alpha, name, true);
        let why = alpha.json(["why", &path_of(&alpha, name)]);
        let said = why["explanation"].as_str().expect("a sentence");
        assert!(said.contains("of-root belongs to root, mode 755, and the server runs as nobody"), "{why}");
        assert_eq!(why["mend"], json!(format!("sudo chown -h -- nobody {}", path_of(&alpha, "of-root"))));
    }
    chown(alpha.user().path("of-root"), Some(NOBODY), Some(NOBODY)).expect("root may give a directory away");
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
}
