-- The jobs of one kind among a million of another, newest first. Neither column ever changes, so claims and
-- pushes stay heap-only updates.
CREATE INDEX jobs_kind_idx ON jobs (kind, job_id);
