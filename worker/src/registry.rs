//! The table of contents: every kind of job, one line each, with its schedule on the same line.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use keryu_common::job::schedule::{CatchUp, Plan};
use keryu_common::job::store::Claimed;
use keryu_common::job::{Backoff, Job, Lease, Verdict};
use keryu_common::user::{erase, inactive, unused};
use keryu_common::{Context, activity, bulk, job, notify, reminder, report, retention, session};

/// All kinds this build runs.
pub fn registry() -> Registry {
    let mut all = Registry::default();
    all.job::<notify::DeliverMessage>();
    all.job::<notify::DeliverNotice>();
    all.job::<job::Noop>();
    all.scheduled::<retention::CleanupExpired>("cleanup_expired", "0 * * * * *", CatchUp::One);
    all.scheduled::<session::RotateSigningKeys>("rotate_signing_keys", "0 0 4 * * *", CatchUp::One);
    all.scheduled::<erase::EraseDue>("erase_due", "0 20 3 * * *", CatchUp::One);
    all.job::<erase::EraseAccount>();
    all.job::<activity::NoteSeen>();
    all.scheduled::<reminder::SendReminders>("send_reminders", "0 0 9 * * *", CatchUp::One);
    all.job::<reminder::RemindProfiles>();
    all.job::<bulk::RunAction>();
    all.job::<report::BuildReport>();
    all.scheduled::<inactive::DeactivateInactive>("deactivate_inactive_users", "0 10 3 * * *", CatchUp::One);
    all.scheduled::<unused::CleanupUnused>("cleanup_unused_profiles", "0 30 3 * * *", CatchUp::One);
    all.scheduled::<retention::RetainJobs>("retain_jobs", "0 0 4 * * *", CatchUp::One);
    all
}

/// Kinds by name, and the schedules that ask for them.
#[derive(Default)]
pub struct Registry {
    kinds: HashMap<&'static str, Kind>,
    plans: Vec<Plan>,
}

/// How one kind is run.
#[derive(Clone, Copy)]
pub struct Kind {
    version: i16,
    timeout: Duration,
    /// The waits between attempts.
    pub backoff: Backoff,
    run: for<'a> fn(&'a Context, &'a Lease, serde_json::Value) -> BoxFuture<'a, Verdict>,
}

impl Registry {
    /// Adds a kind.
    pub fn job<J: Job>(&mut self) {
        let kind = Kind { version: J::VERSION, timeout: J::TIMEOUT, backoff: J::BACKOFF, run: run::<J> };
        self.kinds.insert(J::KIND, kind);
    }

    /// Adds a kind without arguments that a schedule asks for.
    pub fn scheduled<J: Job + Default>(
        &mut self,
        name: &'static str,
        expression: &'static str,
        catch_up: CatchUp,
    ) {
        self.job::<J>();
        self.plans.push(Plan::of::<J>(name, expression, catch_up));
    }

    /// The schedules.
    pub fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// The names of all kinds.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.kinds.keys().copied().collect();
        names.sort_unstable();
        names
    }

    /// One kind.
    pub fn find(&self, name: &str) -> Option<&Kind> {
        self.kinds.get(name)
    }
}

impl Kind {
    /// Runs one attempt to its verdict, whatever the handler does: a panic and a timeout are failed
    /// attempts, an unknown version a dead letter.
    pub async fn attempt(&self, ctx: &Context, lease: &Lease, claimed: Claimed) -> Verdict {
        if claimed.version > self.version {
            return Verdict::GiveUp(format!(
                "payload version {} is newer than this build's {}",
                claimed.version, self.version
            ));
        }
        let work = AssertUnwindSafe((self.run)(ctx, lease, claimed.payload)).catch_unwind();
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(panic)) => Verdict::Retry { after: None, reason: format!("panicked: {}", told(&*panic)) },
            Err(_) => Verdict::Retry { after: None, reason: format!("timed out after {:?}", self.timeout) },
        }
    }
}

fn run<'a, J: Job>(ctx: &'a Context, lease: &'a Lease, payload: serde_json::Value) -> BoxFuture<'a, Verdict> {
    async move {
        match serde_json::from_value::<J>(payload) {
            Ok(job) => job.run(ctx, lease).await,
            Err(error) => Verdict::GiveUp(format!("the payload does not decode: {error}")),
        }
    }
    .boxed()
}

fn told(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("")
}
