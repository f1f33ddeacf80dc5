-- Wallets: a double-entry ledger that is only ever added to. Nothing in it refers to a person by a foreign key:
-- what was posted stays when a person is erased, under an id that leads nowhere.

-- A person has one account for money and one for points. The house has accounts too, which are where a
-- person's money and points come from and go to: their rows are never locked and keep no balance, so that
-- postings to different people do not wait for each other; what they hold is the sum of their entries.
CREATE TABLE ledger_accounts (
    ledger_account_id uuid CONSTRAINT ledger_accounts_pkey PRIMARY KEY,
    user_id    uuid,          -- none: of the house
    house      text,          -- 'funding', 'referral_rewards'
    unit       text NOT NULL, -- a currency (ISO 4217), or 'points'
    balance    numeric,       -- of a person
    earned     numeric,       -- all that was ever added
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT ledger_accounts_owner_check CHECK ((user_id IS NULL) <> (house IS NULL)),
    CONSTRAINT ledger_accounts_kept_check
        CHECK ((user_id IS NULL) = (balance IS NULL) AND (user_id IS NULL) = (earned IS NULL)),
    CONSTRAINT ledger_accounts_balance_check CHECK (balance >= 0)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX ledger_accounts_user_key ON ledger_accounts (user_id, unit) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX ledger_accounts_house_key ON ledger_accounts (house, unit) WHERE house IS NOT NULL;

CREATE TABLE postings (
    posting_id uuid CONSTRAINT postings_pkey PRIMARY KEY,
    source     text NOT NULL CONSTRAINT postings_source_check CHECK (source IN ('staff', 'service', 'house')),
    poster     text NOT NULL, -- a service by its name, whatever key it has today; staff by their id
    actor      uuid,          -- who called: a person or a service's key; none: the house
    reference  text NOT NULL,
    kind       text NOT NULL CONSTRAINT postings_kind_check CHECK (kind IN ('credit', 'debit', 'referral')),
    unit       text NOT NULL,
    reason     text NOT NULL,
    at         timestamptz NOT NULL
);
-- A reference counts once for whoever posts.
CREATE UNIQUE INDEX postings_reference_key ON postings (source, poster, reference);

CREATE TABLE entries (
    posting_id        uuid NOT NULL CONSTRAINT entries_posting_fkey REFERENCES postings,
    -- no foreign key: it would lock the house's row for every posting; `wallet.check_ledger` looks instead
    ledger_account_id uuid NOT NULL,
    amount            numeric NOT NULL CONSTRAINT entries_amount_check CHECK (amount <> 0 AND amount <> 'NaN'),
    balance           numeric, -- of a person's account after it
    at                timestamptz NOT NULL, -- rises with every entry of a person's account
    CONSTRAINT entries_pkey PRIMARY KEY (posting_id, ledger_account_id)
);
-- A person's statement, newest first; those of the house would be one hot page that nobody reads.
CREATE INDEX entries_account_idx ON entries (ledger_account_id, at, posting_id) WHERE balance IS NOT NULL;

-- What is written at once sums to zero for each posting, so that whatever is committed does.
CREATE FUNCTION refuse_unbalanced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM added GROUP BY posting_id HAVING sum(amount) <> 0) THEN
        RAISE EXCEPTION 'the entries of a posting do not sum to zero' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER entries_balanced AFTER INSERT ON entries REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_unbalanced();

CREATE TRIGGER postings_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON postings
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
