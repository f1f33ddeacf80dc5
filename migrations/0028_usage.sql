-- What people use, as services tell it, and the figures of it that are kept with every batch.

-- Services by name: an event's id counts once for its service, whatever key it has today.
CREATE TABLE usage_services (
    service_id integer GENERATED ALWAYS AS IDENTITY CONSTRAINT usage_services_pkey PRIMARY KEY,
    name       text NOT NULL
);
CREATE UNIQUE INDEX usage_services_name_key ON usage_services (name);

CREATE TYPE usage_kind AS ENUM
    ('rental_started', 'rental_returned', 'payment', 'station_favourited', 'station_unfavourited');

-- Kept for 400 days; an older event is refused, so that none counts twice. Not partitioned: an id must be
-- unique over all of them, also where its time is another. Rows come about in the order of their time, and
-- `usage_events_at_idx` finds the oldest for next to nothing.
CREATE TABLE usage_events (
    service_id integer NOT NULL,
    event_id   text COLLATE "C" NOT NULL,
    user_id    uuid NOT NULL,
    kind       usage_kind NOT NULL,
    at         timestamptz NOT NULL,
    amount     numeric,
    late       boolean,
    station_id text COLLATE "C",
    CONSTRAINT usage_events_pkey PRIMARY KEY (service_id, event_id)
);
-- Erasure, and a person's export.
CREATE INDEX usage_events_user_idx ON usage_events (user_id, at);
CREATE INDEX usage_events_at_idx ON usage_events USING brin (at);

-- One row a person. Its lock orders everything else that a batch writes of the person.
CREATE TABLE usage_summaries (
    user_id        uuid CONSTRAINT usage_summaries_pkey PRIMARY KEY
                   CONSTRAINT usage_summaries_user_fkey REFERENCES users ON DELETE CASCADE,
    rentals        bigint NOT NULL,
    spent          numeric NOT NULL,
    timely         bigint NOT NULL,
    late           bigint NOT NULL,
    favourites     bigint NOT NULL DEFAULT 0,
    last_rental_at timestamptz
) WITH (fillfactor = 70);

-- One row a person and month (UTC) with any event: reports, and whom a month's report is for.
CREATE TABLE usage_months (
    month   date NOT NULL,
    user_id uuid NOT NULL CONSTRAINT usage_months_user_fkey REFERENCES users ON DELETE CASCADE,
    rentals bigint NOT NULL,
    spent   numeric NOT NULL,
    timely  bigint NOT NULL,
    late    bigint NOT NULL,
    CONSTRAINT usage_months_pkey PRIMARY KEY (month, user_id)
) WITH (fillfactor = 70);
CREATE INDEX usage_months_user_idx ON usage_months (user_id, month);

-- The last word on each station: the latest event has it, however late it came.
CREATE TABLE usage_favourites (
    user_id    uuid NOT NULL CONSTRAINT usage_favourites_user_fkey REFERENCES users ON DELETE CASCADE,
    station_id text COLLATE "C" NOT NULL,
    favourite  boolean NOT NULL,
    at         timestamptz NOT NULL,
    event_id   text COLLATE "C" NOT NULL, -- among those of one moment
    service_id integer NOT NULL,
    CONSTRAINT usage_favourites_pkey PRIMARY KEY (user_id, station_id)
);

-- A month's report is asked for once.
ALTER TABLE reports ADD COLUMN month date;
CREATE UNIQUE INDEX reports_month_key ON reports (user_id, month) WHERE month IS NOT NULL;
