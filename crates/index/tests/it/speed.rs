//! How fast rows are stored and read, and what one costs: printed (`--nocapture`), not asserted, but for the size.

use std::time::Instant;

use file_sync_index::{Batch, DirectoryIndex, Row};

use crate::samples;

const N_ROWS: u64 = 100_000;
const BATCH_ROWS: usize = 50_000;
/// What a file may cost at most, in bytes (the budget is 300 with everything).
const ROW_BYTES_MAX: u64 = 260;

#[test]
fn a_row_stays_small() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    let mut index = DirectoryIndex::create(&path).expect("created");
    let name = |n: u64| format!("some directory {}/another one/file-{n}.txt", n / 100);
    let rows: Vec<Row> = (1..=N_ROWS).map(|n| samples::plain_row(name(n), n)).collect();
    let began = Instant::now();
    for batch in rows.chunks(BATCH_ROWS) {
        let state = Some(samples::state(N_ROWS));
        index.commit(&Batch { rows: batch.to_vec(), state, ..Batch::default() }).expect("committed");
    }
    let stored = began.elapsed();
    index.checkpoint().expect("checkpointed");
    let row_bytes = std::fs::metadata(&path).expect("there").len() / N_ROWS;
    let began = Instant::now();
    let mut n_loaded = 0;
    index.load(|_| n_loaded += 1).expect("loaded");
    let loaded = began.elapsed();
    assert_eq!(n_loaded, N_ROWS);
    let began = Instant::now();
    for row in rows.iter().take(100) {
        let state = Some(samples::state(N_ROWS));
        index.commit(&Batch { rows: vec![row.clone()], state, ..Batch::default() }).expect("committed");
    }
    let single = began.elapsed() / 100;
    drop(index);
    let began = Instant::now();
    DirectoryIndex::open(&path).expect("opened").close(true).expect("closed");
    let unclean = began.elapsed();
    let began = Instant::now();
    DirectoryIndex::open(&path).expect("opened").close(true).expect("closed");
    let clean = began.elapsed();
    let rate = |elapsed: std::time::Duration| N_ROWS as f64 / elapsed.as_secs_f64();
    eprintln!(
        "{N_ROWS} rows: {row_bytes} bytes each; stored {:.0}/s, loaded {:.0}/s; one row a commit {single:?}; \
         opened after an unclean stop {unclean:?}, a clean one {clean:?}",
        rate(stored),
        rate(loaded)
    );
    assert!(row_bytes <= ROW_BYTES_MAX, "{row_bytes} bytes a row");
}
