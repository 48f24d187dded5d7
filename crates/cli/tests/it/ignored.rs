//! `.syncignore` (L7): what it matches stays local, whoever changes or deletes what is around it.

use crate::world::{
    FEBRUARY, JANUARY, MARCH, PATIENCE, equal, eventually, files_below, holds, introduce, join,
};
use crate::world::{offer, settle, sharing, trio};

#[test]
fn l7_what_a_rule_matches_is_not_sent() {
    let (alpha, beta) = sharing();
    let rules = "# comment\n*.log\n!keep.log\n/top\nbuild/\ndeep/**/leaf\n";
    alpha.user().write(".syncignore", rules, JANUARY);
    settle(&[&alpha, &beta]);
    for name in
        ["a.log", "keep.log", "top", "d/top", "build/out", "d/build/out", "deep/er/leaf", "d/x.log", "d/f"]
    {
        alpha.user().write(name, name, JANUARY);
        beta.user().write(["other/", name].concat(), name, JANUARY);
    }
    settle(&[&alpha, &beta]);
    assert_eq!(beta.user().read(".syncignore"), rules.as_bytes());
    for name in ["keep.log", "d/top", "d/f"] {
        assert!(beta.user().has(name) && alpha.user().has(["other/", name].concat()), "{name} travels");
    }
    for name in ["a.log", "top", "build", "d/build", "deep/er/leaf", "d/x.log"] {
        assert!(!beta.user().has(name), "{name} stays");
    }
    for name in ["a.log", "build/out", "d/x.log"] {
        assert!(!alpha.user().has(["other/", name].concat()), "other/{name} stays");
    }
    assert!(alpha.user().has("other/top"), "a rule with a slash is for its own directory");
}

#[test]
fn l7_a_directory_that_stays_for_what_is_ignored_in_it_says_so() {
    let (alpha, beta) = sharing();
    alpha.user().write(".syncignore", "*.log\n", JANUARY);
    for name in ["d/f", "d/e/g", "d/e/x.log"] {
        alpha.user().write(name, name, JANUARY);
    }
    settle(&[&alpha, &beta]);
    beta.user().remove_all("d");
    settle(&[&alpha, &beta]);
    assert!(alpha.user().has("d/e/x.log") && !alpha.user().has("d/f"));
    for name in ["d", "d/e"] {
        let why = alpha.json(["why", alpha.root().join(name).to_str().expect("UTF-8")]);
        assert_eq!(why["reason"], "still-holds", "{name}: {why}");
    }
}

#[test]
fn l7_a_rule_file_below_is_for_what_is_below_it() {
    let (alpha, beta) = sharing();
    alpha.user().write("d/.syncignore", "*.tmp\n", JANUARY);
    settle(&[&alpha, &beta]);
    for name in ["d/a.tmp", "d/e/b.tmp", "c.tmp"] {
        beta.user().write(name, name, JANUARY);
    }
    settle(&[&alpha, &beta]);
    let has = |name| alpha.user().has(name);
    assert_eq!((has("d/a.tmp"), has("d/e/b.tmp"), has("c.tmp")), (false, false, true));
}

#[test]
fn l7_a_rule_added_later_freezes_and_one_that_goes_compares() {
    let (alpha, beta) = sharing();
    for name in ["a.log", "b.log", "c.log"] {
        alpha.user().write(name, "before", JANUARY);
    }
    settle(&[&alpha, &beta]);
    alpha.user().write(".syncignore", "*.log\n", JANUARY);
    settle(&[&alpha, &beta]);
    let frozen = "a.log \"before\"\nb.log \"before\"\nc.log \"before\"\n.syncignore \"*.log\\n\"";
    holds(&alpha.root(), frozen);
    holds(&beta.root(), frozen);
    alpha.user().write("a.log", "edited by alpha", FEBRUARY);
    beta.user().remove("b.log");
    settle(&[&alpha, &beta]);
    holds(&beta.root(), "a.log \"before\"\nc.log \"before\"\n.syncignore \"*.log\\n\"");
    assert_eq!(alpha.user().read("b.log"), b"before");
    beta.user().remove(".syncignore");
    settle(&[&alpha, &beta]);
    let thawed = "a.log \"edited by alpha\"\nc.log \"before\"";
    holds(&alpha.root(), thawed);
    holds(&beta.root(), thawed);
}

#[test]
fn l7_a_directory_deleted_elsewhere_stays_with_its_ignored_files_alone() {
    let (alpha, beta) = sharing();
    alpha.user().write(".syncignore", "*.log\n", JANUARY);
    alpha.user().write("d/f", "travels", JANUARY);
    alpha.user().write("d/e/g", "travels", JANUARY);
    alpha.user().write("d/local.log", "stays", JANUARY);
    settle(&[&alpha, &beta]);
    beta.user().remove_all("d");
    settle(&[&alpha, &beta]);
    holds(&alpha.root(), ".syncignore \"*.log\\n\"\nd/\nd/local.log \"stays\"");
    holds(&beta.root(), ".syncignore \"*.log\\n\"");
}

#[test]
fn l7_a_remote_file_never_takes_the_place_of_an_ignored_one() {
    let (alpha, beta) = sharing();
    beta.ok(["sync", "pause", "docs"]);
    // Alpha sends what beta's own rule keeps back: beta learned of the rule and of the file at the same time.
    alpha.user().write("notes", "from alpha", MARCH);
    beta.user().write("notes", "beta's own", JANUARY);
    beta.user().write(".syncignore", "notes\n", JANUARY);
    beta.ok(["sync", "resume", "docs"]);
    settle(&[&alpha, &beta]);
    assert_eq!(beta.user().read("notes"), b"beta's own");
    assert_eq!(alpha.user().read("notes"), b"from alpha");
    alpha.user().remove("notes");
    settle(&[&alpha, &beta]);
    assert_eq!(beta.user().read("notes"), b"beta's own");
}

/// Rules that cannot be read are not no rules.
#[test]
fn l7_an_ignore_file_that_is_too_long_keeps_everything_beside_it_here() {
    let (alpha, mut beta) = sharing();
    alpha.user().write("d/.syncignore", "secret*\n", JANUARY);
    alpha.user().write("d/secret1", "mine", JANUARY);
    settle(&[&alpha, &beta]);
    let long = ["secret*\n", &"# a comment\n".repeat(120_000)].concat();
    alpha.user().write("d/.syncignore", &long, FEBRUARY);
    alpha.user().write("d/secret2", "mine", FEBRUARY);
    alpha.user().write("elsewhere", "travels", FEBRUARY);
    let mentions_rules = |device: &crate::device::Device| {
        eventually(PATIENCE, || {
            let errors = device.directory()["errors"].to_string();
            if errors.contains(".syncignore") { Ok(()) } else { Err(errors) }
        });
    };
    mentions_rules(&alpha);
    let _ = alpha.run(["sync", "wait", "--timeout", "3s"]);
    let mut alpha = alpha;
    alpha.stop();
    alpha.begin();
    mentions_rules(&alpha);
    eventually(PATIENCE, || if beta.user().has("elsewhere") { Ok(()) } else { Err("not there yet") });
    assert!(!beta.user().has("d/secret1") && !beta.user().has("d/secret2"));
    alpha.user().write("d/.syncignore", "secret*\n# short again\n", MARCH);
    settle(&[&alpha, &beta]);
    assert!(!beta.user().has("d/secret1") && !beta.user().has("d/secret2"));
    assert_eq!(beta.user().read("d/.syncignore"), b"secret*\n# short again\n");
    beta.stop();
}

/// Whoever cannot show a file itself still passes it on: from its stage, also after a restart, and with its author away.
#[test]
fn s2_a_file_in_place_of_a_directory_that_stays_comes_through_the_relay_that_keeps_the_directory() {
    let (mut relay, mut author, mut third) = trio();
    for other in [&author, &third] {
        introduce(&relay, other);
    }
    offer(&relay, &[]);
    join(&author, &relay, &[]);
    join(&third, &relay, &[]);
    relay.user().write(".syncignore", "*.log\n", JANUARY);
    for directory in ["small", "large"] {
        relay.user().write([directory, "/f"].concat(), "travels", JANUARY);
        relay.user().write([directory, "/x.log"].concat(), "stays", JANUARY);
    }
    settle(&[&relay, &author, &third]);
    third.stop();
    // More than one chunk, and nothing like what anybody has.
    let large: Vec<u8> = (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for directory in ["small", "large"] {
        author.user().remove_all(directory);
    }
    author.user().write("small", "a file now", FEBRUARY);
    author.user().write("large", &large, FEBRUARY);
    let staged = || {
        let names = files_below(&relay.root().join(".file-sync/stage"));
        let n_whole = names.iter().filter(|path| path.extension().is_none()).count();
        if n_whole == 2 { Ok(()) } else { Err(format!("in the stage: {names:?}")) }
    };
    eventually(PATIENCE, staged);
    author.stop();
    relay.kill();
    relay.begin();
    third.begin();
    eventually(PATIENCE, || {
        let has = |name: &str| third.root().join(name).is_file();
        if has("small") && has("large") { Ok(()) } else { Err(third.directory()["errors"].to_string()) }
    });
    assert_eq!(third.user().read("small"), b"a file now");
    assert!(third.user().read("large") == large);
    assert_eq!(relay.user().read("large/x.log"), b"stays");
    // Once nothing keeps the directories, what is staged takes their places, and nothing stays in the stage.
    for name in ["small/x.log", "large/x.log"] {
        relay.user().remove(name);
    }
    eventually(PATIENCE, || {
        let has = |name: &str| relay.root().join(name).is_file();
        if has("small") && has("large") { Ok(()) } else { Err(relay.directory()["errors"].to_string()) }
    });
    assert!(relay.user().read("large") == large);
    author.begin();
    settle(&[&relay, &author, &third]);
    equal(&[&relay, &author, &third]);
    assert_eq!(files_below(&relay.root().join(".file-sync/stage")), Vec::<std::path::PathBuf>::new());
}
