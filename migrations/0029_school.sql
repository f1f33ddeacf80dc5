-- The school's order: departments, their programmes, these' class groups. Names are unique without regard to
-- case: `name_key` is the folded name, compared by bytes, which is also the order of the lists.
CREATE TABLE departments (
    department_id uuid CONSTRAINT departments_pkey PRIMARY KEY,
    name          text NOT NULL,
    name_key      text COLLATE "C" NOT NULL,
    description   text,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);
CREATE UNIQUE INDEX departments_name_key ON departments (name_key);

CREATE TABLE programmes (
    programme_id    uuid CONSTRAINT programmes_pkey PRIMARY KEY,
    department_id   uuid NOT NULL CONSTRAINT programmes_department_fkey REFERENCES departments,
    name            text NOT NULL,
    name_key        text COLLATE "C" NOT NULL,
    level           text NOT NULL,
    duration_months smallint NOT NULL CONSTRAINT programmes_duration_check CHECK (duration_months > 0),
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL
);
CREATE UNIQUE INDEX programmes_name_key ON programmes (name_key);
CREATE INDEX programmes_department_idx ON programmes (department_id, name_key);

CREATE TABLE class_groups (
    class_group_id uuid CONSTRAINT class_groups_pkey PRIMARY KEY,
    programme_id   uuid NOT NULL CONSTRAINT class_groups_programme_fkey REFERENCES programmes,
    name           text NOT NULL,
    name_key       text COLLATE "C" NOT NULL,
    intake         text,    -- a month: 2026-09
    capacity       integer CONSTRAINT class_groups_capacity_check CHECK (capacity > 0), -- none: no bound
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
);
CREATE UNIQUE INDEX class_groups_name_key ON class_groups (name_key);
CREATE INDEX class_groups_programme_idx ON class_groups (programme_id, name_key);
-- what a trainee's programme and class group refer to together
CREATE UNIQUE INDEX class_groups_pair_key ON class_groups (class_group_id, programme_id);

-- What a role adds to a person, one to one. A row stays when the role changes, and is shown with the role alone.
CREATE TABLE trainee_profiles (
    user_id          uuid CONSTRAINT trainee_profiles_pkey PRIMARY KEY
                     CONSTRAINT trainee_profiles_user_fkey REFERENCES users ON DELETE CASCADE,
    admission_number text NOT NULL,
    number_key       text COLLATE "C" NOT NULL, -- folded
    status           text NOT NULL CONSTRAINT trainee_profiles_status_check
                     CHECK (status IN ('active', 'deferred', 'suspended', 'graduated', 'withdrawn')),
    programme_id     uuid CONSTRAINT trainee_profiles_programme_fkey REFERENCES programmes,
    class_group_id   uuid,
    intake           text,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT trainee_profiles_class_group_check CHECK (class_group_id IS NULL OR programme_id IS NOT NULL),
    CONSTRAINT trainee_profiles_class_group_fkey FOREIGN KEY (class_group_id, programme_id)
        REFERENCES class_groups (class_group_id, programme_id)
);
CREATE UNIQUE INDEX trainee_profiles_number_key ON trainee_profiles (number_key);
CREATE INDEX trainee_profiles_programme_idx ON trainee_profiles (programme_id) WHERE programme_id IS NOT NULL;
CREATE INDEX trainee_profiles_class_group_idx ON trainee_profiles (class_group_id, programme_id)
    WHERE class_group_id IS NOT NULL;

CREATE TABLE trainer_profiles (
    user_id        uuid CONSTRAINT trainer_profiles_pkey PRIMARY KEY
                   CONSTRAINT trainer_profiles_user_fkey REFERENCES users ON DELETE CASCADE,
    staff_number   text NOT NULL,
    number_key     text COLLATE "C" NOT NULL,
    qualifications text[] NOT NULL,
    specialisation text,
    teaching_load  smallint, -- hours a week
    department_id  uuid CONSTRAINT trainer_profiles_department_fkey REFERENCES departments,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
);
CREATE UNIQUE INDEX trainer_profiles_number_key ON trainer_profiles (number_key);
CREATE INDEX trainer_profiles_department_idx ON trainer_profiles (department_id) WHERE department_id IS NOT NULL;

CREATE TABLE hod_profiles (
    user_id       uuid CONSTRAINT hod_profiles_pkey PRIMARY KEY
                  CONSTRAINT hod_profiles_user_fkey REFERENCES users ON DELETE CASCADE,
    department_id uuid NOT NULL CONSTRAINT hod_profiles_department_fkey REFERENCES departments,
    since         date NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);
-- one head of a department at a time
CREATE UNIQUE INDEX hod_profiles_department_key ON hod_profiles (department_id);

CREATE TABLE dp_academics_profiles (
    user_id    uuid CONSTRAINT dp_academics_profiles_pkey PRIMARY KEY
               CONSTRAINT dp_academics_profiles_user_fkey REFERENCES users ON DELETE CASCADE,
    office     text NOT NULL,
    since      date NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Who teaches or looks after what, from when until when. Rows that ended stay.
CREATE TABLE assignments (
    assignment_id  uuid CONSTRAINT assignments_pkey PRIMARY KEY,
    user_id        uuid NOT NULL CONSTRAINT assignments_user_fkey REFERENCES users ON DELETE CASCADE,
    department_id  uuid CONSTRAINT assignments_department_fkey REFERENCES departments,
    programme_id   uuid CONSTRAINT assignments_programme_fkey REFERENCES programmes,
    class_group_id uuid CONSTRAINT assignments_class_group_fkey REFERENCES class_groups,
    title          text NOT NULL,
    title_key      text COLLATE "C" NOT NULL,
    from_day       date NOT NULL,
    until_day      date,        -- the last day; of one ended by hand, the first day it is over
    ended_at       timestamptz, -- by hand
    created_at     timestamptz NOT NULL,
    CONSTRAINT assignments_place_check CHECK (num_nonnulls(department_id, programme_id, class_group_id) = 1),
    CONSTRAINT assignments_until_check CHECK (until_day >= from_day)
);
CREATE INDEX assignments_user_idx ON assignments (user_id, created_at, assignment_id);
CREATE INDEX assignments_department_idx ON assignments (department_id) WHERE department_id IS NOT NULL;
CREATE INDEX assignments_programme_idx ON assignments (programme_id) WHERE programme_id IS NOT NULL;
CREATE INDEX assignments_class_group_idx ON assignments (class_group_id) WHERE class_group_id IS NOT NULL;
