-- Which sequence number had been given last when a start of the server began to write here; the highest: not known.
ALTER TABLE incarnations ADD COLUMN began INTEGER NOT NULL DEFAULT 9223372036854775807;
-- The highest sequence number of its own that a remote has told of.
ALTER TABLE remotes ADD COLUMN heard INTEGER NOT NULL DEFAULT 0;
