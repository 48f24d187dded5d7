-- The database of one directory: a row a path, whatever the number of remotes. Unsigned 64-bit numbers are stored as
-- the signed number with the same bits. `register`, `record` and `chunks` are laid out as src/codec.rs says.

CREATE TABLE condition (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    clean_stop INTEGER NOT NULL
);
INSERT INTO condition (id, clean_stop) VALUES (1, 1);

-- Every path that something is below of; 0 is the root.
CREATE TABLE parents (
    id INTEGER PRIMARY KEY,
    parent INTEGER REFERENCES parents (id),
    name BLOB NOT NULL,
    UNIQUE (parent, name)
);
INSERT INTO parents (id, parent, name) VALUES (0, NULL, x'');

CREATE TABLE devices (
    id INTEGER PRIMARY KEY,
    device BLOB NOT NULL UNIQUE
);

CREATE TABLE actors (
    id INTEGER PRIMARY KEY,
    device INTEGER NOT NULL REFERENCES devices (id),
    epoch INTEGER NOT NULL,
    UNIQUE (device, epoch)
);

CREATE TABLE files (
    parent INTEGER NOT NULL REFERENCES parents (id),
    name BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    holds INTEGER NOT NULL,
    register BLOB NOT NULL,
    record BLOB,
    PRIMARY KEY (parent, name)
) WITHOUT ROWID;

CREATE TABLE chunk_lists (
    id INTEGER PRIMARY KEY,
    content BLOB NOT NULL UNIQUE,
    average_bytes INTEGER NOT NULL,
    chunks BLOB NOT NULL
);

CREATE TABLE kept (
    name TEXT PRIMARY KEY,
    path BLOB NOT NULL,
    record BLOB NOT NULL,
    at_seconds INTEGER NOT NULL,
    at_nanoseconds INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX kept_path ON kept (path);

-- What was done to a user's bytes; nothing ever leaves.
CREATE TABLE acts (
    id INTEGER PRIMARY KEY,
    at_seconds INTEGER NOT NULL,
    at_nanoseconds INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    name BLOB NOT NULL,
    before BLOB,
    after BLOB,
    what TEXT NOT NULL,
    why TEXT NOT NULL,
    by INTEGER
);
CREATE TRIGGER acts_stay BEFORE DELETE ON acts
BEGIN SELECT RAISE(ABORT, 'acts are append-only'); END;
CREATE TRIGGER acts_stand BEFORE UPDATE ON acts
BEGIN SELECT RAISE(ABORT, 'acts are append-only'); END;

CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    index_id INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    first_scan_done INTEGER NOT NULL
);

CREATE TABLE incarnations (
    position INTEGER PRIMARY KEY,
    incarnation INTEGER NOT NULL
);

CREATE TABLE members (
    device BLOB PRIMARY KEY,
    number INTEGER NOT NULL,
    active INTEGER NOT NULL,
    key BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE remotes (
    device BLOB PRIMARY KEY,
    index_id INTEGER NOT NULL,
    merged INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL,
    incarnation INTEGER NOT NULL
) WITHOUT ROWID;
