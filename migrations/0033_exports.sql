-- What people asked to take away of what is kept about them. The file is an upload; it goes after its time.
CREATE TABLE exports (
    export_id   uuid CONSTRAINT exports_pkey PRIMARY KEY,
    user_id     uuid NOT NULL CONSTRAINT exports_user_fkey REFERENCES users ON DELETE CASCADE,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL, -- of the job while it waits, of the file then
    finished_at timestamptz,
    upload_id   uuid,
    size        bigint                -- bytes of the file
);
CREATE INDEX exports_user_idx ON exports (user_id, created_at);
CREATE INDEX exports_expires_idx ON exports (expires_at);
-- one waits per person
CREATE UNIQUE INDEX exports_waiting_key ON exports (user_id) WHERE finished_at IS NULL;
