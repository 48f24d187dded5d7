-- Which sequence number had been given last when a start of the server began to write here.
ALTER TABLE incarnations ADD COLUMN began INTEGER NOT NULL DEFAULT 0;
