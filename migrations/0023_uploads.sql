-- Files that people sent, or that jobs made for them. The objects are in the object store; a row is there
-- before its object and until after it. Whose it was goes when they are erased, and the row stays until its
-- object is deleted.
CREATE TABLE uploads (
    upload_id    uuid CONSTRAINT uploads_pkey PRIMARY KEY,
    user_id      uuid CONSTRAINT uploads_user_fkey REFERENCES users ON DELETE SET NULL,
    purpose      text NOT NULL CONSTRAINT uploads_purpose_check CHECK (purpose IN ('picture', 'kyc_document', 'export')),
    content_type text NOT NULL,
    -- of what was sent, without what sealing adds
    size         bigint NOT NULL CONSTRAINT uploads_size_check CHECK (size >= 0),
    object       text NOT NULL,
    -- of objects that are sealed: the key of this one alone, sealed
    sealed_key   bytea,
    created_at   timestamptz NOT NULL,
    -- the object is there
    stored_at    timestamptz,
    -- something refers to it
    attached_at  timestamptz,
    -- nobody wants it any more
    released_at  timestamptz
);
CREATE INDEX uploads_user_idx ON uploads (user_id);
-- what is to be deleted, and what nothing came to refer to
CREATE INDEX uploads_released_idx ON uploads (released_at) WHERE released_at IS NOT NULL;
CREATE INDEX uploads_waiting_idx ON uploads (created_at) WHERE attached_at IS NULL AND released_at IS NULL;
