//! Names: any byte sequence that the file system takes arrives unchanged.

use crate::user::noise;
use crate::world::{FEBRUARY, JANUARY, check, copy_name, equal, settle, sharing};

const ODD: [&[u8]; 22] = [
    b"two words",
    b" leading and trailing ",
    b"-rf",
    b"--help",
    b"...",
    b"..hidden",
    b"trailing.",
    b"tab\there",
    b"line\nbreak",
    b"\x01\x7f",
    b"back\\slash",
    b"quote'\"`$(true)",
    b"*?[a]",
    b"#comment",
    b"!not",
    b"con",
    b"a:b|c<d>",
    "\u{1f980}\u{fe0f}".as_bytes(),
    "e\u{301} beside \u{e9}".as_bytes(),
    "\u{202e}txt.exe".as_bytes(),
    b"\xff\xfe not text",
    b"half \xc3",
];

#[test]
fn s1_odd_names_arrive_as_files_directories_and_symlinks() {
    let (alpha, beta) = sharing();
    for (index, name) in ODD.into_iter().enumerate() {
        alpha.user().write([b"files/", name].concat(), format!("{index}"), JANUARY);
        beta.user().write([b"directories/", name, b"/", name].concat(), format!("{index}"), JANUARY);
        alpha.user().mkdir("links");
        alpha.user().link(name, [b"links/", name].concat());
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    for name in ODD {
        beta.user().write([b"files/", name].concat(), "edited", FEBRUARY);
        alpha.user().remove([b"directories/", name, b"/", name].concat());
        beta.user().rename([b"links/", name].concat(), [b"links/", name, b"~"].concat());
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert_eq!(alpha.user().read([b"files/", ODD[20]].concat()), b"edited");
    assert!(!beta.user().has([b"directories/", ODD[21], b"/", ODD[21]].concat()));
}

#[test]
fn s1_every_single_byte_is_a_name() {
    let (alpha, beta) = sharing();
    for byte in 1..=255_u8 {
        if byte != b'.' && byte != b'/' {
            alpha.user().write([byte], [byte], JANUARY);
        }
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
}

#[test]
fn s1_names_of_255_bytes_arrive_and_are_staged_elsewhere() {
    let (alpha, beta) = sharing();
    let (plain, wide) = ("n".repeat(255), "\u{1f980}".repeat(63) + "abc");
    alpha.user().write(&plain, noise(1, 300_000), JANUARY);
    alpha.user().write(&wide, "wide", JANUARY);
    beta.user().mkdir("d".repeat(255));
    beta.user().write(format!("{}/{plain}", "d".repeat(255)), "below", JANUARY);
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
}

#[test]
fn w1_a_conflict_on_a_name_of_255_bytes_has_a_copy_that_fits() {
    let (alpha, beta) = sharing();
    let name = "\u{fc}".repeat(125) + ".text";
    beta.ok(["sync", "pause", "docs"]);
    alpha.user().write(&name, "from alpha", JANUARY);
    beta.user().write(&name, "from beta", FEBRUARY);
    beta.ok(["sync", "resume", "docs"]);
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    let rest = copy_name("", "20200101-000000", &alpha, ".text");
    let names = std::fs::read_dir(beta.root()).expect("the root can be read").flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let copy =
        names.into_iter().find(|found| found.ends_with(&rest)).expect("a copy in UTF-8, with the extension");
    // As much of the name is left as whole characters of two bytes have room.
    assert!((254..=255).contains(&copy.len()), "{} bytes: {copy}", copy.len());
    assert!(name.starts_with(&copy[..copy.len() - rest.len()]), "{copy}");
    assert_eq!(beta.user().read(&copy), b"from alpha");
    assert_eq!(alpha.user().read(&name), b"from beta");
}

#[test]
fn m4_renames_that_change_case_alone_chains_and_swaps_arrive() {
    let (alpha, beta) = sharing();
    for (name, text) in
        [("Case", "c"), ("one", "1"), ("two", "2"), ("three", "3"), ("left", "l"), ("right", "r")]
    {
        alpha.user().write(name, text, JANUARY);
    }
    settle(&[&alpha, &beta]);
    alpha.user().rename("Case", "cASE");
    alpha.user().rename("three", "four");
    alpha.user().rename("two", "three");
    alpha.user().rename("one", "two");
    alpha.user().rename("left", "aside");
    alpha.user().rename("right", "left");
    alpha.user().rename("aside", "right");
    check(&[&alpha, &beta], "cASE \"c\"\ntwo \"1\"\nthree \"2\"\nfour \"3\"\nleft \"r\"\nright \"l\"");
    beta.user().rename("two", "three");
    check(&[&alpha, &beta], "cASE \"c\"\nthree \"1\"\nfour \"3\"\nleft \"r\"\nright \"l\"");
}

#[test]
fn w1_conflicts_on_odd_names_are_named_as_documented() {
    let (alpha, beta) = sharing();
    beta.ok(["sync", "pause", "docs"]);
    for name in [".bashrc", "a.tar.gz", "no-dot", "trailing."] {
        alpha.user().write(name, "from alpha", JANUARY);
        beta.user().write(name, "from beta", FEBRUARY);
    }
    beta.ok(["sync", "resume", "docs"]);
    let copies = [(".bashrc", ""), ("a.tar", ".gz"), ("no-dot", ""), ("trailing", ".")];
    let copies = copies.map(|(stem, extension)| copy_name(stem, "20200101-000000", &alpha, extension));
    let shown: String = copies.iter().map(|copy| format!("{copy} \"from alpha\"\n")).collect();
    let kept = ".bashrc \"from beta\"\na.tar.gz \"from beta\"\nno-dot \"from beta\"\ntrailing. \"from beta\"";
    check(&[&alpha, &beta], &format!("{shown}{kept}"));
    assert_eq!(alpha.directory()["conflicts"], 4);
    assert_eq!(beta.directory()["conflicts"], 4);
}
