-- Which sequence number had been given last when a start of the server began to write here; the highest: not known.
ALTER TABLE incarnations ADD COLUMN began INTEGER NOT NULL DEFAULT 9223372036854775807;
