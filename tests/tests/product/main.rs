//! The product from outside: HTTP in verbs, a database each, delivered messages read back, the real
//! binaries started and killed. One binary, so that it links once.

#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and looks at rows by statements of its own"
)]

mod support;

mod blocks;
mod budgets;
mod codes;
mod edges;
mod engine;
mod engine_model;
mod enumeration;
mod erasure;
mod faults;
mod faults_books;
mod guards;
mod guards_redis;
mod guards_slots;
mod idempotency;
mod input;
mod ledger;
mod limits;
mod lockout;
mod mail;
mod messages;
mod outage;
mod passwords;
mod receipts;
mod retention;
mod schedules;
mod secrecy;
mod sessions;
mod settings;
mod timing;
mod users;
mod webhooks;
mod wire;
