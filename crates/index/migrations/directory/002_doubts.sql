-- What the engine may have done at a path without having recorded it, where that does not follow from the path's row.
CREATE TABLE doubts (
    path BLOB PRIMARY KEY,
    doubt BLOB NOT NULL
) WITHOUT ROWID;
