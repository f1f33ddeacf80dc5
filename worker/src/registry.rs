//! The table of contents: every kind of job, one line each, with its schedule on the same line.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use keryu_common::job::schedule::{CatchUp, Plan};
use keryu_common::job::store::{Claimed, NewJob};
use keryu_common::job::{Backoff, Job, Lease, Queue, Terms, Verdict};
use keryu_common::retention::blank;
use keryu_common::user::{common_word, erase, inactive, unused};
use keryu_common::{
    Context, activity, bulk, crm, export, job, kyc, notify, picture, reminder, report, retention, session,
    upload, wallet,
};

/// All kinds this build runs.
pub fn registry() -> Registry {
    let mut all = Registry::default();
    all.job::<notify::DeliverMessage>();
    all.job::<notify::DeliverNotice>();
    all.job::<notify::FallBackCode>();
    all.job::<notify::FallBackNotice>();
    all.job::<crm::SyncUsers>();
    all.job::<job::Noop>();
    all.scheduled::<retention::CleanupExpired>("cleanup_expired", "0 * * * * *", CatchUp::One);
    all.scheduled::<blank::CleanupPushTokens>("cleanup_push_tokens", "0 0 * * * *", CatchUp::One)
        .spread(minutes(5));
    all.scheduled::<upload::Cleanup>("cleanup_uploads", "0 0 * * * *", CatchUp::One).spread(minutes(5));
    all.job::<upload::DeleteReleased>();
    all.scheduled::<retention::CleanupAuditLogs>("cleanup_audit_logs", "0 0 3 * * *", CatchUp::One)
        .spread(minutes(5));
    all.scheduled::<blank::BlankOldAddresses>("blank_old_addresses", "0 40 3 * * *", CatchUp::One)
        .spread(minutes(5));
    all.scheduled::<session::RotateSigningKeys>("rotate_signing_keys", "0 0 4 * * *", CatchUp::One);
    all.scheduled::<erase::EraseDue>("erase_due", "0 20 3 * * *", CatchUp::One).spread(minutes(5));
    all.job::<erase::EraseAccount>();
    all.job::<kyc::ExpireDocument>();
    all.job::<activity::NoteSeen>();
    all.scheduled::<reminder::SendReminders>("send_reminders", "0 0 9 * * *", CatchUp::One)
        .spread(minutes(5));
    all.job::<reminder::RemindProfiles>();
    all.job::<reminder::RemindKyc>();
    all.scheduled::<kyc::ExpireDocuments>("expire_kyc", "0 * * * * *", CatchUp::One);
    all.job::<bulk::RunAction>();
    all.job::<bulk::ReleaseResult>();
    all.job::<report::BuildReport>();
    all.job::<export::BuildExport>();
    all.scheduled::<report::RequestMonthly>("monthly_reports", "0 0 5 1 * *", CatchUp::One)
        .spread(minutes(5));
    all.job::<wallet::RewardReferral>();
    all.scheduled::<wallet::CheckLedger>("check_ledger", "0 30 4 * * *", CatchUp::One).spread(minutes(5));
    all.job::<picture::MakeSizes>();
    all.scheduled::<picture::SettleLost>("settle_lost_pictures", "0 * * * * *", CatchUp::One);
    all.scheduled::<inactive::DeactivateInactive>("deactivate_inactive_users", "0 10 3 * * *", CatchUp::One)
        .spread(minutes(5));
    all.scheduled::<unused::CleanupUnused>("cleanup_unused_profiles", "0 30 3 * * *", CatchUp::One)
        .spread(minutes(5));
    all.scheduled::<common_word::CountWords>("count_words", "0 50 3 * * *", CatchUp::One).spread(minutes(5));
    all.scheduled::<retention::RetainJobs>("retain_jobs", "0 0 4 * * *", CatchUp::One).spread(minutes(5));
    all
}

/// How long after its tick a heavy schedule may begin.
fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
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
    /// Its name.
    pub name: &'static str,
    /// Where its jobs wait.
    pub queue: Queue,
    /// Of its payload, as this build writes it; older ones are read too.
    pub version: i16,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// The waits between attempts.
    pub backoff: Backoff,
    run: for<'a> fn(&'a Context, &'a Lease, serde_json::Value) -> BoxFuture<'a, Verdict>,
    row: fn(DateTime<Utc>, serde_json::Value, Terms) -> Result<NewJob, String>,
}

impl Registry {
    /// Adds a kind.
    pub fn job<J: Job>(&mut self) {
        let kind = Kind {
            name: J::KIND,
            queue: J::QUEUE,
            version: J::VERSION,
            timeout: J::TIMEOUT,
            backoff: J::BACKOFF,
            run: run::<J>,
            row: row::<J>,
        };
        self.kinds.insert(J::KIND, kind);
    }

    /// Adds a kind without arguments that a schedule asks for.
    pub fn scheduled<J: Job + Default>(
        &mut self,
        name: &'static str,
        expression: &'static str,
        catch_up: CatchUp,
    ) -> &mut Plan {
        self.job::<J>();
        let place = self.plans.len();
        self.plans.push(Plan::of::<J>(name, expression, catch_up));
        &mut self.plans[place]
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

    /// All kinds.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.values()
    }

    /// One kind.
    pub fn find(&self, name: &str) -> Option<&Kind> {
        self.kinds.get(name)
    }

    /// The kind of a job; or why this build cannot run it: a newer one may.
    ///
    /// # Errors
    /// The reason, for a person.
    pub fn of(&self, claimed: &Claimed) -> Result<&Kind, String> {
        let Some(kind) = self.find(&claimed.kind) else {
            return Err(format!("no handler for the kind {}", claimed.kind));
        };
        if claimed.version > kind.version {
            let (payload, build) = (claimed.version, kind.version);
            return Err(format!("payload version {payload} is newer than this build's {build}"));
        }
        Ok(kind)
    }
}

impl Kind {
    /// A job of this kind with arguments as an operator typed them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn row(
        &self,
        now: DateTime<Utc>,
        payload: serde_json::Value,
        terms: Terms,
    ) -> Result<NewJob, String> {
        (self.row)(now, payload, terms)
    }

    /// Runs one attempt to its verdict, whatever the handler does: a panic and a timeout are failed
    /// attempts.
    pub async fn attempt(&self, ctx: &Context, lease: &Lease, claimed: Claimed) -> Verdict {
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

fn row<J: Job>(now: DateTime<Utc>, payload: serde_json::Value, terms: Terms) -> Result<NewJob, String> {
    let job: J = serde_json::from_value(payload).map_err(|error| error.to_string())?;
    job::row(now, &job, terms).map_err(|error| error.to_string())
}

fn told(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("")
}
