//! placeholder
use crate::config::Source;
/// Settings of the API's edges.
#[derive(Clone, Debug)]
pub struct Config {}
impl Config {
    pub(crate) fn read(_source: &mut Source) -> Self {
        Self {}
    }
}
