-- The server's database: what a home offers and syncs, whom it is paired with, and what it must remember of itself.
-- Times are seconds since 1970 UTC. Ids and keys are raw bytes.

CREATE TABLE condition (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    clean_stop INTEGER NOT NULL
);
INSERT INTO condition (id, clean_stop) VALUES (1, 1);

CREATE TABLE directories (
    id INTEGER PRIMARY KEY,
    directory_id BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    path BLOB NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('offered', 'synced')),
    mode TEXT NOT NULL CHECK (mode IN ('two-way', 'receive-only', 'send-only')),
    read_only INTEGER NOT NULL,
    only_author BLOB,
    origin BLOB,
    origin_name TEXT,
    paused INTEGER NOT NULL,
    deleted INTEGER NOT NULL
);
CREATE UNIQUE INDEX directories_path ON directories (path) WHERE NOT deleted;
CREATE UNIQUE INDEX directories_name ON directories (name) WHERE NOT deleted;

-- Whom a directory is offered to; no row: to every paired remote.
CREATE TABLE offers_to (
    directory_id BLOB NOT NULL REFERENCES directories (directory_id),
    device BLOB NOT NULL,
    PRIMARY KEY (directory_id, device)
) WITHOUT ROWID;

CREATE TABLE remotes (
    id INTEGER PRIMARY KEY,
    device BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    key BLOB NOT NULL,
    last_seen INTEGER,
    paired_at INTEGER NOT NULL,
    deleted INTEGER NOT NULL
);
CREATE UNIQUE INDEX remotes_name ON remotes (name) WHERE NOT deleted;

CREATE TABLE remote_addresses (
    device BLOB NOT NULL REFERENCES remotes (device),
    position INTEGER NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (device, position)
) WITHOUT ROWID;

CREATE TABLE remote_syncs (
    directory_id BLOB NOT NULL REFERENCES directories (directory_id),
    device BLOB NOT NULL REFERENCES remotes (device),
    their_index_id INTEGER NOT NULL,
    their_sequence_merged INTEGER NOT NULL,
    our_sequence_acknowledged INTEGER NOT NULL,
    PRIMARY KEY (directory_id, device)
) WITHOUT ROWID;

CREATE TABLE invitations (
    secret_hash BLOB PRIMARY KEY,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_by BLOB
) WITHOUT ROWID;

CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- One row for every start of the server; nothing ever leaves.
CREATE TABLE incarnations (
    id INTEGER PRIMARY KEY,
    incarnation INTEGER NOT NULL,
    started_at INTEGER NOT NULL
);
CREATE TRIGGER incarnations_stay BEFORE DELETE ON incarnations
BEGIN SELECT RAISE(ABORT, 'incarnations are append-only'); END;
CREATE TRIGGER incarnations_stand BEFORE UPDATE ON incarnations
BEGIN SELECT RAISE(ABORT, 'incarnations are append-only'); END;
