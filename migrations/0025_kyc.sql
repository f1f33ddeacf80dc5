-- Which documents prove who somebody is, and what their numbers look like: data, so that a deployment has
-- those of its country. `pattern` is a regular expression for the whole number, in capitals and without
-- spaces; `rule` says the same for people.
CREATE TABLE kyc_document_types (
    document_type text CONSTRAINT kyc_document_types_pkey PRIMARY KEY,
    name          text NOT NULL,
    pattern       text NOT NULL,
    rule          text NOT NULL,
    min_length    smallint NOT NULL,
    max_length    smallint NOT NULL,
    two_sided     boolean NOT NULL,
    valid_days    integer CONSTRAINT kyc_document_types_valid_check CHECK (valid_days > 0), -- null: for good
    CONSTRAINT kyc_document_types_length_check CHECK (0 < min_length AND min_length <= max_length)
);
INSERT INTO kyc_document_types
    (document_type, name, pattern, rule, min_length, max_length, two_sided, valid_days) VALUES
    ('national_id', 'National identity card', '[0-9]{6,9}', '6 to 9 digits', 6, 9, true, 3650),
    ('passport', 'Passport', '[A-Z]{1,2}[0-9]{6,8}', 'one or two letters, then 6 to 8 digits', 7, 10, false, 3650),
    ('driving_licence', 'Driving licence', '[A-Z0-9][A-Z0-9/-]{4,17}[A-Z0-9]',
     'letters and digits, with dashes and slashes between them', 6, 19, true, 1095),
    ('alien_id', 'Foreigner identity card', '[A-Z0-9]{6,12}', '6 to 12 letters and digits', 6, 12, true, 730);

-- Documents that people handed in, each with what became of it; none is ever overwritten by a later one.
CREATE TABLE kyc_submissions (
    submission_id    uuid CONSTRAINT kyc_submissions_pkey PRIMARY KEY,
    user_id          uuid NOT NULL CONSTRAINT kyc_submissions_user_fkey REFERENCES users ON DELETE CASCADE,
    document_type    text NOT NULL CONSTRAINT kyc_submissions_type_fkey REFERENCES kyc_document_types,
    number_sealed    bytea NOT NULL,
    number_hash      bytea NOT NULL, -- keyed: for equality alone
    front_upload_id  uuid NOT NULL,
    back_upload_id   uuid,
    state            text NOT NULL
        CONSTRAINT kyc_submissions_state_check CHECK (state IN ('pending', 'approved', 'rejected', 'expired')),
    rejection_reason text,
    decided_at       timestamptz,
    decided_by       uuid,
    expires_at       timestamptz,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL
);
-- one waits per person
CREATE UNIQUE INDEX kyc_submissions_pending_key ON kyc_submissions (user_id) WHERE state = 'pending';
-- a person's newest, and their history
CREATE INDEX kyc_submissions_user_idx ON kyc_submissions (user_id, created_at, submission_id);
-- the queue of the staff, oldest first
CREATE INDEX kyc_submissions_state_idx ON kyc_submissions (state, created_at, submission_id);
-- the same number approved for somebody else
CREATE INDEX kyc_submissions_number_idx ON kyc_submissions (number_hash) WHERE state = 'approved';
-- what runs out
CREATE INDEX kyc_submissions_expires_idx ON kyc_submissions (expires_at) WHERE state = 'approved';

-- How far the check of somebody's documents is: written with every change of theirs, in its transaction.
ALTER TABLE users ADD COLUMN kyc_status text NOT NULL DEFAULT 'not_submitted';
