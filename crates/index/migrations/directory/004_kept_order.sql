-- Kept versions in the order in which they are listed: a listing goes on where its last part ended, and reads no others.
CREATE INDEX kept_place ON kept (path, at_seconds, at_nanoseconds, name);
DROP INDEX kept_path;
