//! Checks that `docs/cli.md` says what `--help` says; with `UPDATE=1` in the environment it is written anew.

use std::path::Path;

use clap::CommandFactory;

use crate::args::Arguments;

const HEAD: &str = "# The command line

What `--help` says, of every command. Generated: `UPDATE=1 cargo test -p file-sync reference` writes it anew.

Results go to stdout, everything else to stderr. With `--json` a result is one document: sizes in bytes, times in
RFC 3339 UTC.
";

#[test]
fn the_reference_says_what_help_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let mut command = Arguments::command().term_width(100);
    command.build();
    let mut reference = HEAD.to_owned();
    describe(&mut command, &mut reference);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("docs")).expect("docs can be made");
        std::fs::write(&path, &reference).expect("the reference can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == reference,
        "docs/cli.md differs from --help; run UPDATE=1 cargo test -p file-sync reference"
    );
}

fn describe(command: &mut clap::Command, reference: &mut String) {
    let help = command.render_long_help().to_string();
    // Trailing blanks come from clap's columns.
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let name = command.get_bin_name().unwrap_or("file-sync").to_owned();
    reference.push_str(&format!("\n## {name}\n\n```text\n{}\n```\n", help.join("\n").trim_end()));
    let below = command.get_subcommands_mut().filter(|below| below.get_name() != "help");
    below.for_each(|below| describe(below, reference));
}
