//! What is exported of a person: the one list. Every table that names people is in [`AREAS`], column by column, or
//! in [`NOT_THEIRS`] with the reason; a test fails when one is in neither. Only what is named is taken, so that no
//! secret of a later column slips in.

/// Rows of one table that are a person's: a file of the archive.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// The file's name, without `.json`.
    pub name: &'static str,
    /// Where the rows are.
    pub table: &'static str,
    /// Which of them are the person's: a condition on `$1`, their id.
    pub whose: &'static str,
    /// In which order: as many columns as it takes to tell rows apart.
    pub order: &'static str,
    /// Columns that are taken as they are.
    pub take: &'static [&'static str],
    /// Columns that are opened for their owner.
    pub open: &'static [Sealed],
    /// Columns that stay, each with the reason.
    pub leave: &'static [(&'static str, &'static str)],
}

/// A column that holds what is sealed.
#[derive(Clone, Copy, Debug)]
pub struct Sealed {
    /// The column.
    pub column: &'static str,
    /// What it is called in the file.
    pub name: &'static str,
    /// What opens it.
    pub opens: Opens,
}

/// What opens a sealed column.
#[derive(Clone, Copy, Debug)]
pub enum Opens {
    /// The deployment's key for this use, for the id in this column: a text.
    House(&'static str, &'static str),
    /// The person's own key: a change of their profile, field by field.
    Change,
}

impl Sealed {
    /// The column with the id it is bound to.
    pub fn owner(&self) -> Option<&'static str> {
        match self.opens {
            Opens::House(_, owner) => Some(owner),
            Opens::Change => None,
        }
    }
}

/// A column that is taken of some rows alone.
#[derive(Clone, Copy, Debug)]
pub struct Partly {
    /// Where it is.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// Of which rows: a condition.
    pub of: &'static str,
}

/// Columns that are null in the file where they would tell of somebody else.
pub const PARTLY: &[Partly] = &[
    // a referral's names whom the person referred
    Partly { table: "postings", column: "reference", of: "kind <> 'referral'" },
];

const THEIRS: &str = "user_id = $1";
const THE_PERSON: (&str, &str) = ("user_id", "the same in every row: it is in account.json");
const SECRET: &str = "a secret, or a hash of one";
const WORKINGS: &str = "workings of the service";

/// Every table with rows that are somebody's.
pub const AREAS: &[Area] = &[
    Area {
        name: "account",
        table: "users",
        whose: THEIRS,
        order: "user_id",
        take: &[
            "user_id",
            "username",
            "email",
            "phone_number",
            "status",
            "status_reason",
            "kyc_status",
            "language",
            "email_verified_at",
            "phone_verified_at",
            "ever_verified_at",
            "first_name",
            "last_name",
            "gender",
            "address",
            "role",
            "is_superuser",
            "referral_code",
            "social_provider",
            "last_login_at",
            "last_login_ip",
            "last_login_device",
            "last_activity_at",
            "created_at",
            "updated_at",
            "deleted_at",
            "erase_at",
            "inactivity_warned_at",
            "lapsed_at",
            "before_deletion",
        ],
        open: &[Sealed {
            column: "national_id_sealed",
            name: "national_id",
            opens: Opens::House("national_id", "user_id"),
        }],
        leave: &[
            ("search_text", "derived from name and addresses"),
            ("username_skeleton", "derived from the username"),
            ("national_id_hash", "derived from the national id"),
            ("referred_by", "names somebody else"),
        ],
    },
    Area {
        name: "profile",
        table: "profiles",
        whose: THEIRS,
        order: "user_id",
        take: &[
            "full_name",
            "date_of_birth",
            "emergency_contact",
            "emergency_phone",
            "notification_preferences",
            "created_at",
            "updated_at",
        ],
        open: &[],
        leave: &[
            THE_PERSON,
            ("picture_large", "among the files"),
            ("picture_small", "among the files"),
            ("picture_waiting", "among the files"),
            ("picture_failed_at", WORKINGS),
        ],
    },
    Area {
        name: "sessions",
        table: "sessions",
        whose: THEIRS,
        order: "session_id",
        take: &[
            "session_id",
            "methods",
            "authenticated_at",
            "ip_address",
            "user_agent",
            "created_at",
            "last_used_at",
            "expires_at",
            "ended_at",
            "end_reason",
        ],
        open: &[],
        leave: &[
            THE_PERSON,
            ("generation", WORKINGS),
            ("token_hash", SECRET),
            ("previous_hash", SECRET),
            ("rotated_at", WORKINGS),
            ("previous_rotated_at", WORKINGS),
            ("device_token_id", WORKINGS),
        ],
    },
    Area {
        name: "devices",
        table: "devices",
        whose: THEIRS,
        order: "id",
        take: &[
            "id",
            "device_id",
            "device_type",
            "device_name",
            "app_version",
            "os_version",
            "is_active",
            "created_at",
            "last_used",
        ],
        open: &[],
        leave: &[
            THE_PERSON,
            ("fcm_token", "an address that only the service may send to"),
            ("session_id", WORKINGS),
        ],
    },
    Area {
        name: "known_devices",
        table: "device_tokens",
        whose: THEIRS,
        order: "device_token_id",
        take: &["created_at", "last_used_at", "expires_at"],
        open: &[],
        leave: &[THE_PERSON, ("device_token_id", WORKINGS), ("token_hash", SECRET)],
    },
    Area {
        name: "passkeys",
        table: "passkeys",
        whose: THEIRS,
        order: "passkey_id",
        take: &[
            "passkey_id",
            "name",
            "transports",
            "backed_up",
            "backup_eligible",
            "created_at",
            "last_used_at",
        ],
        open: &[],
        leave: &[
            THE_PERSON,
            ("credential_id", "of use to whoever would pass for the person"),
            ("public_key", "of no use to a reader"),
            ("sign_count", WORKINGS),
        ],
    },
    Area {
        name: "authenticator_apps",
        table: "totp_factors",
        whose: THEIRS,
        order: "factor_id",
        take: &["created_at", "confirmed_at", "last_used_at"],
        open: &[],
        leave: &[THE_PERSON, ("factor_id", WORKINGS), ("sealed", SECRET), ("last_step", WORKINGS)],
    },
    Area {
        name: "messages",
        table: "deliveries",
        whose: THEIRS,
        order: "created_at, delivery_id",
        take: &[
            "delivery_id",
            "created_at",
            "kind",
            "channel",
            "recipient",
            "language",
            "purpose",
            "state",
            "facts",
            "accepted_at",
            "finished_at",
        ],
        open: &[],
        leave: &[
            THE_PERSON,
            ("challenge_id", WORKINGS),
            ("sends", WORKINGS),
            ("attempts", WORKINGS),
            ("provider", WORKINGS),
            ("provider_id", WORKINGS),
            ("reason", WORKINGS),
            ("expires_at", WORKINGS),
            ("opened_at", WORKINGS),
            ("request_id", WORKINGS),
            ("traceparent", WORKINGS),
            ("fell_back_at", WORKINGS),
        ],
    },
    Area {
        name: "reminders",
        table: "reminders",
        whose: THEIRS,
        order: "kind, step",
        take: &["kind", "step", "at"],
        open: &[],
        leave: &[THE_PERSON],
    },
    Area {
        name: "reports",
        table: "reports",
        whose: THEIRS,
        order: "report_id",
        take: &["report_id", "month", "created_at", "finished_at", "expires_at"],
        open: &[],
        leave: &[
            THE_PERSON,
            ("json", "drawn from what is in this archive; downloaded by itself"),
            ("html", "drawn from what is in this archive; downloaded by itself"),
        ],
    },
    Area {
        name: "files",
        table: "uploads",
        whose: "user_id = $1 AND purpose <> 'export' AND stored_at IS NOT NULL AND released_at IS NULL",
        order: "upload_id",
        take: &["upload_id", "purpose", "content_type", "size", "created_at"],
        open: &[],
        leave: &[
            THE_PERSON,
            ("object", WORKINGS),
            ("sealed_key", SECRET),
            ("stored_at", WORKINGS),
            ("attached_at", WORKINGS),
            ("released_at", WORKINGS),
        ],
    },
    Area {
        name: "profile_changes",
        table: "profile_changes",
        whose: THEIRS,
        order: "at, change_id",
        take: &["change_id", "at", "restored"],
        open: &[Sealed { column: "sealed", name: "fields", opens: Opens::Change }],
        leave: &[THE_PERSON, ("actor", "names somebody of staff, where it is not the person")],
    },
    Area {
        name: "documents",
        table: "kyc_submissions",
        whose: THEIRS,
        order: "created_at, submission_id",
        take: &[
            "submission_id",
            "document_type",
            "front_upload_id",
            "back_upload_id",
            "state",
            "rejection_reason",
            "decided_at",
            "expires_at",
            "created_at",
            "updated_at",
        ],
        open: &[Sealed {
            column: "number_sealed",
            name: "document_number",
            opens: Opens::House("document_number", "submission_id"),
        }],
        leave: &[
            THE_PERSON,
            ("number_hash", "derived from the number"),
            ("decided_by", "names somebody of staff"),
        ],
    },
    Area {
        name: "consents",
        table: "consents",
        whose: THEIRS,
        order: "at, consent_id",
        take: &["consent_id", "kind", "text_version", "given", "at", "ip_address"],
        open: &[],
        leave: &[THE_PERSON],
    },
    Area {
        name: "wallet",
        table: "ledger_accounts",
        whose: THEIRS,
        order: "ledger_account_id",
        take: &["ledger_account_id", "unit", "balance", "earned", "created_at", "updated_at"],
        open: &[],
        leave: &[THE_PERSON, ("house", "of the house's own accounts")],
    },
    Area {
        name: "wallet_entries",
        table: "entries",
        whose: "ledger_account_id IN (SELECT ledger_account_id FROM ledger_accounts WHERE user_id = $1)",
        order: "at, posting_id, ledger_account_id",
        take: &["posting_id", "ledger_account_id", "amount", "balance", "at"],
        open: &[],
        leave: &[],
    },
    Area {
        name: "wallet_postings",
        table: "postings",
        whose: "posting_id IN (SELECT posting_id FROM entries WHERE ledger_account_id IN (
                    SELECT ledger_account_id FROM ledger_accounts WHERE user_id = $1))",
        order: "at, posting_id",
        take: &["posting_id", "source", "reference", "kind", "unit", "reason", "at"],
        open: &[],
        leave: &[
            ("poster", "names somebody of staff, or a service"),
            ("actor", "names somebody of staff, or a service"),
        ],
    },
    Area {
        name: "usage_events",
        table: "usage_events",
        whose: THEIRS,
        order: "at, service_id, event_id",
        take: &["event_id", "kind", "at", "amount", "late", "station_id"],
        open: &[],
        leave: &[THE_PERSON, ("service_id", WORKINGS)],
    },
    Area {
        name: "usage_summary",
        table: "usage_summaries",
        whose: THEIRS,
        order: "user_id",
        take: &["rentals", "spent", "timely", "late", "favourites", "last_rental_at"],
        open: &[],
        leave: &[THE_PERSON],
    },
    Area {
        name: "usage_months",
        table: "usage_months",
        whose: THEIRS,
        order: "month",
        take: &["month", "rentals", "spent", "timely", "late"],
        open: &[],
        leave: &[THE_PERSON],
    },
    Area {
        name: "usage_favourites",
        table: "usage_favourites",
        whose: THEIRS,
        order: "station_id",
        take: &["station_id", "favourite", "at"],
        open: &[],
        leave: &[THE_PERSON, ("event_id", WORKINGS), ("service_id", WORKINGS)],
    },
    Area {
        name: "trainee_profile",
        table: "trainee_profiles",
        whose: THEIRS,
        order: "user_id",
        take: &[
            "admission_number",
            "status",
            "programme_id",
            "class_group_id",
            "intake",
            "created_at",
            "updated_at",
        ],
        open: &[],
        leave: &[THE_PERSON, ("number_key", "derived from the number")],
    },
    Area {
        name: "trainer_profile",
        table: "trainer_profiles",
        whose: THEIRS,
        order: "user_id",
        take: &[
            "staff_number",
            "qualifications",
            "specialisation",
            "teaching_load",
            "department_id",
            "created_at",
            "updated_at",
        ],
        open: &[],
        leave: &[THE_PERSON, ("number_key", "derived from the number")],
    },
    Area {
        name: "hod_profile",
        table: "hod_profiles",
        whose: THEIRS,
        order: "user_id",
        take: &["department_id", "since", "created_at", "updated_at"],
        open: &[],
        leave: &[THE_PERSON],
    },
    Area {
        name: "dp_academics_profile",
        table: "dp_academics_profiles",
        whose: THEIRS,
        order: "user_id",
        take: &["office", "since", "created_at", "updated_at"],
        open: &[],
        leave: &[THE_PERSON],
    },
    Area {
        name: "assignments",
        table: "assignments",
        whose: THEIRS,
        order: "assignment_id",
        take: &[
            "assignment_id",
            "department_id",
            "programme_id",
            "class_group_id",
            "title",
            "from_day",
            "until_day",
            "ended_at",
            "created_at",
        ],
        open: &[],
        leave: &[THE_PERSON, ("title_key", "derived from the title")],
    },
];

/// Columns that name people and are no area, each with the reason.
pub const NOT_THEIRS: &[(&str, &str, &str)] = &[
    ("audit", "actor", "in activity.json, as the person's own view shows it"),
    ("audit", "entity_id", "in activity.json, as the person's own view shows it"),
    ("audit", "owner", "in activity.json, as the person's own view shows it"),
    ("audit", "ip_address", "in activity.json, where the person did it"),
    ("audit", "user_agent", "in activity.json, where the person did it"),
    ("users", "referred_by", "names somebody else"),
    ("user_words", "user_id", "derived from name and addresses"),
    ("user_keys", "user_id", SECRET),
    ("passwords", "user_id", SECRET),
    ("recovery_codes", "user_id", SECRET),
    ("factor_tries", "user_id", "a counter of an hour"),
    ("mfa_challenges", "user_id", "a sign-in that waits for minutes"),
    ("passkey_challenges", "user_id", "a sign-in that waits for minutes"),
    ("challenges", "user_id", "a code that is gone within a day"),
    ("challenges", "identifier", "a code that is gone within a day"),
    ("challenges", "client", "a code that is gone within a day"),
    ("verification_tokens", "user_id", "a proof that is gone within minutes"),
    ("verification_tokens", "identifier", "a proof that is gone within minutes"),
    ("identifier_budgets", "identifier_hash", "a counter; it names nobody without the key"),
    ("wrong_tries", "identifier_hash", "a counter; it names nobody without the key"),
    ("wrong_tries", "client", "a counter; it names nobody without the key"),
    ("login_failures", "subject_hash", "a counter; it names nobody without the key"),
    ("crm_changes", "user_id", "a mark that another system is still to be told"),
    ("exports", "user_id", "this archive and the one before it"),
    ("bulk_actions", "created_by", "the staff's work; that it was done to the person is in activity.json"),
    ("bulk_actions", "ip_address", "the staff's work"),
    ("bulk_actions", "user_agent", "the staff's work"),
    ("bulk_items", "user_id", "the staff's work; that it was done to the person is in activity.json"),
    ("api_keys", "created_by", "a service's key; that the person made it is in activity.json"),
    ("ip_blocks", "created_by", "of an address; that the person set it is in activity.json"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::AREAS;

    #[test]
    fn no_file_is_written_twice() {
        let names: HashSet<&str> = AREAS.iter().map(|area| area.name).collect();
        assert_eq!(names.len(), AREAS.len());
        assert!(!names.contains("activity") && !names.contains("index"), "these are written beside them");
    }
}
