-- What an account was when it was deleted, `status` and `reason`: a deletion that is taken back gives it that again.
ALTER TABLE users ADD COLUMN before_deletion jsonb;

-- Who does a bulk action: how far the action is, is said by its job too. Null: it is older than this column.
ALTER TABLE bulk_actions ADD COLUMN job_id uuid;
