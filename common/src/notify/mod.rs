//! placeholder
use sqlx::PgPool;
use crate::config::{Source, Stage};
use crate::error::Result;
/// Settings of messages.
#[derive(Clone, Debug)]
pub struct Config {}
impl Config { pub(crate) fn read(_source: &mut Source, _stage: Stage) -> Self { Self {} } }
/// Channels, templates and the batched delivery record.
#[derive(Debug)]
pub struct Courier {}
impl Courier { 
    /// placeholder
    /// # Errors
    /// none
    pub fn open(_config: &crate::config::Config, _db: PgPool) -> Result<Self> { Ok(Self{}) } }
