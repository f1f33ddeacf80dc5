//! Writing down when people were last here.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::store;
use crate::context::Context;
use crate::job::{Job, Lease, Queue, Verdict};

/// Writes down when these people were last here: only forward, so that it may run twice and late.
#[derive(Debug, Deserialize, Serialize)]
pub struct NoteSeen {
    /// Who, and when.
    pub seen: Vec<(Uuid, DateTime<Utc>)>,
}

impl Job for NoteSeen {
    const KIND: &'static str = "activity.note_seen";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 10;

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        let (people, times): (Vec<_>, Vec<_>) = self.seen.iter().copied().unzip();
        match store::set_seen(&ctx.db, &people, &times).await {
            Ok(()) => Verdict::Done,
            Err(error) => crate::Error::from(error).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::NoteSeen;

    #[test]
    fn payloads_that_were_asked_for_are_read_for_good() {
        let first = r#"{"seen":[["019a9f31-7cf2-7b0a-9e1c-2d3e4f506174","2026-11-20T10:00:00Z"]]}"#;
        let job: NoteSeen = serde_json::from_str(first).expect("version 1");
        assert_eq!(serde_json::to_string(&job).expect("json"), first);
    }
}
