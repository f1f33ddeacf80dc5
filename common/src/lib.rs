//! Keryu's thick middle: everything the product knows, shared by the API and the worker.
//!
//! One module per slice (nouns, refusals, settings and verbs; SQL in its `store`; what happens
//! later in its `jobs`), and the few things all slices stand on. Nothing here knows HTTP or apalis.

pub mod activity;
pub mod api_key;
pub mod audit;
pub mod auth;
pub mod batch;
pub mod bulk;
pub mod clock;
pub mod config;
pub mod consent;
pub mod context;
pub mod crm;
pub mod cursor;
pub mod database;
pub mod desk;
pub mod device;
pub mod error;
pub mod export;
pub mod factor;
pub mod id;
pub mod idempotency;
pub mod ip_block;
pub mod job;
pub mod kyc;
pub mod limit;
pub mod mask;
pub mod notify;
pub mod picture;
pub mod profile;
pub mod provider;
pub mod reminder;
pub mod report;
pub mod retention;
pub mod role;
pub mod school;
pub mod seal;
pub mod secret;
pub mod seed;
pub mod session;
pub mod sheet;
pub mod telemetry;
pub mod upload;
pub mod usage;
pub mod user;
pub mod wallet;

pub use context::Context;
pub use error::{Error, Fault, Refusal, Result};
