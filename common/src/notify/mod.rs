//! placeholder
use crate::config::{Source, Stage};
use crate::error::Result;
use crate::job::{Job, Lease, Queue, Verdict};
use sqlx::PgPool;
/// Settings of messages.
#[derive(Clone, Debug)]
pub struct Config {}
impl Config {
    pub(crate) fn read(_source: &mut Source, _stage: Stage) -> Self {
        Self {}
    }
}
/// Channels, templates and the batched delivery record.
#[derive(Debug)]
pub struct Courier {}
impl Courier {
    /// placeholder
    /// # Errors
    /// none
    pub fn open(_config: &crate::config::Config, _db: PgPool) -> Result<Self> {
        Ok(Self {})
    }
}
/// x
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct DeliverMessage {
    /// x
    pub delivery_id: uuid::Uuid,
}
impl Job for DeliverMessage {
    const KIND: &'static str = "notify.deliver_message";
    const QUEUE: Queue = Queue::Critical;
    async fn run(&self, _: &crate::Context, _: &Lease) -> Verdict {
        Verdict::Done
    }
}
/// x
/// # Errors
/// x
pub async fn expire(_: &crate::Context) -> Result<()> {
    Ok(())
}
/// x
/// # Errors
/// x
pub async fn sample(_: &crate::Context, count: usize) -> Result<Vec<uuid::Uuid>> {
    Ok((0..count).map(|_| crate::id::unguessable()).collect())
}
