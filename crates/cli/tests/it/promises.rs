//! docs/guarantees.md beside the tests: a promise that it calls kept is named by at least one of them.
//!
//! A test names a promise by its own name (`l2_…`), or test code does in a doc comment ("S1 and V2: …"). What a test
//! then checks is for its reader to judge.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::world::files_below;

/// A promise's line: its number, how far it is kept, and its text.
struct Promise {
    id: String,
    status: String,
    text: String,
}

#[test]
fn every_promise_called_kept_is_named_by_a_test() {
    let promises = promises();
    let names = named_by_tests();
    assert!(promises.len() > 40, "docs/guarantees.md could not be read: {} promises", promises.len());
    let mut wrong = Vec::new();
    for Promise { id, status, text } in &promises {
        let is_named = names.contains_key(id);
        let says_what_is_missing = text.contains("Missing: ");
        match status.as_str() {
            "kept" if !is_named => wrong.push(format!("{id} is called kept, and no test names it")),
            "kept" | "not yet" if says_what_is_missing => {
                wrong.push(format!("{id} is {status}, and yet lacks something"))
            }
            "partly" if !says_what_is_missing => {
                wrong.push(format!("{id} is partly kept, and what is missing is not said"))
            }
            "kept" | "partly" | "not yet" => {}
            other => wrong.push(format!("{id} has an unknown status: {other}")),
        }
    }
    let ids: BTreeSet<&String> = promises.iter().map(|promise| &promise.id).collect();
    assert_eq!(ids.len(), promises.len(), "a number is given twice");
    let unknown = names.iter().filter(|(id, _)| !ids.contains(id));
    wrong.extend(unknown.map(|(id, place)| format!("{place} names {id}, which is no promise")));
    assert!(wrong.is_empty(), "docs/guarantees.md and the tests differ:\n{}", wrong.join("\n"));
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn promises() -> Vec<Promise> {
    let page =
        fs::read_to_string(workspace().join("docs/guarantees.md")).expect("docs/guarantees.md is there");
    let mut promises: Vec<Promise> = Vec::new();
    for line in page.lines() {
        if let Some((id, rest)) = line.strip_prefix("- **").and_then(|rest| rest.split_once("** ("))
            && let Some((status, text)) = rest.split_once(')')
        {
            promises.push(Promise { id: id.to_owned(), status: status.to_owned(), text: text.to_owned() });
        } else if let (Some(promise), Some(more)) = (promises.last_mut(), line.strip_prefix("  ")) {
            promise.text = format!("{}\n{more}", promise.text);
        }
    }
    promises
}

/// The promises that tests name, each with a file that does.
fn named_by_tests() -> BTreeMap<String, String> {
    let crates = workspace().join("crates");
    let mut named = BTreeMap::new();
    for path in files_below(&crates) {
        if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("promises.rs") {
            continue;
        }
        let relative = path.strip_prefix(&crates).expect("below it").display().to_string();
        let is_test_code = relative.contains("/tests/") || relative.starts_with("sim/");
        let source = fs::read_to_string(&path).expect("a source file");
        named.extend(ids_in(&source, is_test_code).into_iter().map(|id| (id, relative.clone())));
    }
    named
}

fn ids_in(source: &str, is_test_code: bool) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("//") {
            let words = line.split(|c: char| !c.is_ascii_alphanumeric());
            let is_doc = line.starts_with("///") || line.starts_with("//!");
            ids.extend(words.filter(|word| is_test_code && is_doc && is_id(word)).map(str::to_owned));
        } else if line.starts_with("#[") {
            is_test |= line.contains("test]") || line.contains("::test(");
        } else {
            let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            let prefix = name.filter(|_| is_test).and_then(|name| name.split('_').next());
            ids.extend(prefix.map(str::to_uppercase).filter(|prefix| is_id(prefix)));
            is_test = false;
        }
    }
    ids
}

/// True for a letter of docs/guarantees.md's headings and a number.
fn is_id(word: &str) -> bool {
    word.len() == 2
        && word.starts_with(['S', 'L', 'D', 'W', 'M', 'V', 'C', 'H', 'P'])
        && word.ends_with(|c: char| c.is_ascii_digit())
}
