//! The product from outside: HTTP in verbs, a database each, delivered messages read back, the real
//! binaries started and killed. One binary, so that it links once.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and looks at rows by statements of its own"
)]

mod support;

mod activity;
mod admin_jobs;
mod api_keys;
mod audit;
mod blocks;
mod budgets;
mod bulk;
mod claims;
mod classic;
mod codes;
mod commands;
mod consents;
mod crm;
mod crm_trouble;
mod crm_worker;
mod data_rights;
mod detail;
mod devices;
mod edges;
mod engine;
mod engine_model;
mod enumeration;
mod erasure;
mod fallback;
mod faults;
mod faults_books;
mod guards;
mod guards_redis;
mod guards_slots;
mod idempotency;
mod inactivity;
mod input;
mod jobs_page;
mod kyc;
mod kyc_desk;
mod ledger;
mod limits;
mod links;
mod lockout;
mod mail;
mod messages;
mod monitoring;
mod notices;
mod notifications;
mod operators;
mod outage;
mod passkey_client;
mod passkeys;
mod passwords;
mod payloads;
mod people;
mod pictures;
mod processes;
mod profiles;
mod purposes;
mod push;
mod receipts;
mod recovery;
mod referrals;
mod reminders;
mod reports;
mod retention;
mod role_profiles;
mod roles;
mod rolling;
mod schedule_faults;
mod schedules;
mod school;
mod secrecy;
mod seeds;
mod sessions;
mod sessions_model;
mod settings;
mod signing_keys;
mod step_up;
mod timing;
mod tokens;
mod totp;
mod traces;
mod uploads;
mod usage;
mod users;
mod verification;
mod wallet;
mod webhooks;
mod whole_registry;
mod wire;
