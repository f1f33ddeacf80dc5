//! Keryu's worker: turns ledger rows into work. The registry is the table of contents.

pub mod bench;
pub mod command;
pub mod drain;
pub mod listen;
pub mod metrics;
pub mod pulse;
pub mod pump;
pub mod registry;
pub mod relay;
pub mod runner;
pub mod scheduler;
pub mod supervise;
pub mod watchdog;
pub mod worker;
