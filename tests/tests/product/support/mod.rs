//! The harness. [`World`] is a database and a Redis prefix of a test's own; [`Product`] the product in
//! this process under a clock that the test sets; [`process`] the real binaries.

pub mod authenticator;
pub mod bucket;
pub mod chaos;
pub mod command;
pub mod crm;
pub mod dump;
pub mod engine;
pub mod fcm;
pub mod folder;
pub mod gateway;
pub mod kinds;
pub mod mailserver;
pub mod operator;
pub mod own;
pub mod paper;
pub mod process;
pub mod product;
pub mod school;
pub mod totp;
pub mod twilio;
pub mod world;

pub use crm::Crm;
pub use engine::Engine;
pub use fcm::Fcm;
pub use folder::Folder;
pub use gateway::Gateway;
pub use mailserver::MailServer;
pub use operator::operate;
pub use own::Own;
pub use product::Product;
pub use twilio::Twilio;
pub use world::World;

use std::time::{Duration, Instant};

/// Waits until the condition holds, looking often; fails with `what` after `within`.
pub async fn eventually<F, Fut>(what: &str, within: Duration, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let deadline = Instant::now() + within;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
