-- What people agreed to, and what they took back: a line each time, never changed.
CREATE TABLE consents (
    consent_id   uuid CONSTRAINT consents_pkey PRIMARY KEY,
    user_id      uuid NOT NULL CONSTRAINT consents_user_fkey REFERENCES users ON DELETE CASCADE,
    kind         text NOT NULL CONSTRAINT consents_kind_check CHECK (kind IN ('terms', 'marketing', 'face')),
    text_version text NOT NULL,
    given        boolean NOT NULL,
    at           timestamptz NOT NULL,
    ip_address   text NOT NULL -- part of the proof: kept as long as the line
);
-- somebody's, newest first
CREATE INDEX consents_user_idx ON consents (user_id, at, consent_id);
-- the present state of each kind
CREATE INDEX consents_kind_idx ON consents (user_id, kind, at, consent_id);

-- For tables whose rows are never changed.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only added to', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER consents_no_update BEFORE UPDATE ON consents FOR EACH ROW EXECUTE FUNCTION refuse_change();
