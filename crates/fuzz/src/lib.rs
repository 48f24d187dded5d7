//! Fuzz targets: what must hold for any bytes that come from outside.
//!
//! A [`Target`] is a plain function of bytes that panics if something does not hold. It is used twice: `tests/it` gives
//! it the corpus and mutations of it, in the test command; the harness in `fuzz/`, beside the workspace, gives it what
//! a coverage-guided fuzzer makes up, and thereby finds what belongs into the corpus. Both bound time and memory.
//!
//! For tests only. What is hostile in a way that random bytes hardly get to is in each crate's own tests.

pub mod blobs;
pub mod database;
pub mod engine;
pub mod merging;
pub mod mutation;
pub mod paths;
pub mod rules;
pub mod streams;
pub mod tickets;
pub mod wire;

/// Something that takes bytes from outside.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Whom the bytes come from, and what takes them.
    pub what: &'static str,
    /// Tries one input; true if it was taken rather than refused. Panics if anything does not hold.
    pub run: fn(&[u8]) -> bool,
    /// Longest input that makes sense, in bytes.
    pub bytes_max: usize,
    /// Most memory that any such input may take meanwhile, in bytes.
    pub memory_bytes_max: usize,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "message",
        what: "messages of remotes",
        run: wire::message,
        bytes_max: 4 * KIB,
        memory_bytes_max: 2 * MIB,
    },
    Target {
        name: "register",
        what: "encoded registers",
        run: wire::register,
        bytes_max: 4 * KIB,
        memory_bytes_max: 2 * MIB,
    },
    Target {
        name: "chunk-list",
        what: "chunk lists of remotes",
        run: wire::chunk_list,
        bytes_max: KIB,
        memory_bytes_max: 64 * KIB,
    },
    Target {
        name: "kept-page",
        what: "pages of what members keep",
        run: wire::kept_page,
        bytes_max: KIB,
        memory_bytes_max: 256 * KIB,
    },
    Target {
        name: "content-frame",
        what: "frames of content connections",
        run: wire::content_frame,
        bytes_max: KIB,
        memory_bytes_max: 256 * KIB,
    },
    Target {
        name: "preamble",
        what: "first frames of connections",
        run: wire::preamble,
        bytes_max: KIB,
        memory_bytes_max: 256 * KIB,
    },
    Target {
        name: "stream",
        what: "streams of frames",
        run: streams::stream,
        bytes_max: 4 * KIB,
        memory_bytes_max: 2 * MIB,
    },
    Target {
        name: "ticket",
        what: "tickets",
        run: tickets::ticket,
        bytes_max: 512,
        memory_bytes_max: 64 * KIB,
    },
    Target { name: "path", what: "paths", run: paths::path, bytes_max: KIB, memory_bytes_max: 256 * KIB },
    Target {
        name: "rules",
        what: "ignore files",
        run: rules::rules,
        bytes_max: 4 * KIB,
        memory_bytes_max: 256 * MIB,
    },
    Target {
        name: "merging",
        what: "registers merged into a tree",
        run: merging::merging,
        bytes_max: 4 * KIB,
        memory_bytes_max: 16 * MIB,
    },
    Target {
        name: "engine",
        what: "conversations with an engine",
        run: engine::engine,
        bytes_max: 8 * KIB,
        memory_bytes_max: 32 * MIB,
    },
    Target {
        name: "blobs",
        what: "damaged rows of a database",
        run: blobs::blobs,
        bytes_max: KIB,
        memory_bytes_max: 16 * MIB,
    },
    Target {
        name: "database",
        what: "damaged databases",
        run: database::database,
        bytes_max: 512,
        memory_bytes_max: 32 * MIB,
    },
];
