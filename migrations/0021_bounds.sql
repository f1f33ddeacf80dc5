-- What many rows must not slow down or stop.

-- Codes that are sent away for their provider's rate come back in a line of their own.
ALTER TABLE provider_turns ADD COLUMN urgent_back_at timestamptz NOT NULL DEFAULT 'epoch';

-- None of these columns ever changes, so that the steps of a delivery stay heap-only updates.
-- What ran out lately.
CREATE INDEX deliveries_expires_idx ON deliveries (expires_at);
-- `deliveries list --to`, newest first; and erasure, as before.
DROP INDEX deliveries_recipient_idx;
CREATE INDEX deliveries_recipient_idx ON deliveries (recipient, created_at, delivery_id);

-- `jobs list --state cancelled`: few among very many.
CREATE INDEX finished_jobs_cancelled_idx ON finished_jobs (job_id) WHERE state = 'cancelled';

-- Once people are chosen, by what is not kept: it may be somebody's address.
UPDATE bulk_actions SET filter = filter - 'search' WHERE selected_at IS NOT NULL AND filter ? 'search';

-- Whoever makes or drops a partition locks the whole table, and all who come after wait behind: for a moment
-- only, then it is tried again later (55P03).
ALTER FUNCTION ensure_partitions(text, text, integer, timestamptz, integer) SET lock_timeout = '200ms';
ALTER FUNCTION drop_partitions(text, timestamptz) SET lock_timeout = '200ms';
