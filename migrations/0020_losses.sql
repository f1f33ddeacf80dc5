-- How many attempts in a row lost their worker: one that takes its worker with it waits longer each time.
ALTER TABLE jobs ADD COLUMN losses smallint NOT NULL DEFAULT 0;
