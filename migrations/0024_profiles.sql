-- What people say of themselves. Their address and language are columns of `users`, where the record and
-- messages have them.
ALTER TABLE profiles
    ADD COLUMN full_name         text,
    ADD COLUMN date_of_birth     date,
    ADD COLUMN emergency_contact text,
    ADD COLUMN emergency_phone   text,
    -- uploads: the picture as it is shown, in two sizes, both or none
    ADD COLUMN picture_large     uuid,
    ADD COLUMN picture_small     uuid,
    -- the one that was sent last and is yet to be made into those
    ADD COLUMN picture_waiting   uuid,
    -- the one that was sent last could not be made into those
    ADD COLUMN picture_failed_at timestamptz,
    ADD CONSTRAINT profiles_picture_check CHECK ((picture_large IS NULL) = (picture_small IS NULL));

-- Every change of a profile: before and after, sealed under the person's own key, so that both go with it.
CREATE TABLE profile_changes (
    change_id uuid CONSTRAINT profile_changes_pkey PRIMARY KEY,
    user_id   uuid NOT NULL CONSTRAINT profile_changes_user_fkey REFERENCES users ON DELETE CASCADE,
    at        timestamptz NOT NULL,
    actor     uuid NOT NULL,
    -- the change that was taken back, with all after it
    restored  uuid,
    sealed    bytea NOT NULL
);
CREATE INDEX profile_changes_user_idx ON profile_changes (user_id, at, change_id);
