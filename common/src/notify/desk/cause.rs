//! Why a delivery is where it is, and what to do: in words, from its rows.

use chrono::{DateTime, TimeDelta, Utc};

use super::Line;
use crate::desk::job::at;
use crate::desk::store::JobRow;
use crate::notify::State;
use crate::notify::store::Attempt;

/// What is known of a delivery.
pub(super) struct Scene<'a> {
    pub line: &'a Line,
    pub attempts: &'a [Attempt],
    pub sends: bool,
    pub opened_at: Option<DateTime<Utc>>,
    /// The newest job that sends it.
    pub job: Option<&'a JobRow>,
    /// What happens next with that.
    pub job_step: Option<String>,
    /// Why its queue is not worked.
    pub obstacle: Option<String>,
    pub notice: bool,
    pub now: DateTime<Utc>,
}

impl Scene<'_> {
    /// Cause and next step.
    pub fn told(&self) -> (String, String) {
        if !self.sends {
            return (
                "nobody has this identifier: nothing is sent, and the answer does not tell".to_owned(),
                "Nothing. Ask the person with which address or number they registered.".to_owned(),
            );
        }
        match self.line.state {
            State::Queued => self.queued(),
            State::Sending => self.sending(),
            State::Accepted => self.accepted(),
            State::Delivered => (
                self.reason().unwrap_or_else(|| format!("{} reported its arrival", self.by())),
                "Nothing.".to_owned(),
            ),
            State::Failed => self.failed(),
            State::Expired => self.expired(),
            State::Unknown => (
                self.reason().unwrap_or_else(|| format!("the call to {} has no recorded end", self.by())),
                match self.notice {
                    true => "Held: it may have arrived. `deliveries resend` sends it again.",
                    false => "The worker sends it again by itself.",
                }
                .to_owned(),
            ),
        }
    }

    fn by(&self) -> &str {
        self.line.provider.as_deref().unwrap_or("no provider")
    }

    fn reason(&self) -> Option<String> {
        self.line.reason.clone()
    }

    fn last(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    fn is_misconfigured(&self) -> bool {
        self.last().is_some_and(|last| last.outcome.as_deref() == Some("misconfigured"))
    }

    /// What the last provider said.
    fn said(&self) -> Option<String> {
        let last = self.last()?;
        let said = last.reason.as_deref()?;
        Some(format!("{} at {}: {said}", last.provider, at(last.finished_at.unwrap_or(last.started_at))))
    }

    fn queued(&self) -> (String, String) {
        let Some(job) = self.job else {
            return (
                "no job is left that would send it".to_owned(),
                "`deliveries resend` asks for one while its time lasts.".to_owned(),
            );
        };
        let step = || self.job_step.clone().unwrap_or_default();
        match (job.state.as_str(), &self.obstacle) {
            ("completed" | "cancelled", _) => (
                format!(
                    "its job is {}: {}",
                    job.state,
                    job.error.as_deref().unwrap_or("no reason is recorded")
                ),
                "`deliveries resend` asks for another while its time lasts.".to_owned(),
            ),
            ("discarded", _) => {
                let why = job.error.as_deref().unwrap_or("no reason is recorded");
                (format!("its job is a dead letter: {why}"), step())
            }
            // what keeps it now comes before what went wrong earlier
            (_, Some(obstacle)) => (before(obstacle).to_owned(), after(obstacle)),
            ("running", None) => ("a worker has just taken it up".to_owned(), step()),
            ("retryable", None) => {
                // a snooze has no attempt row: the job says why
                let why = match (&job.error, self.said()) {
                    (Some(error), _) if error.starts_with("over the rate") => error.clone(),
                    (_, Some(said)) => said,
                    (Some(error), None) => error.clone(),
                    (None, None) => "it waits for its next try".to_owned(),
                };
                let mend = if self.is_misconfigured() { "Mend the provider's settings. " } else { "" };
                (why, format!("{mend}{}", step()))
            }
            ("scheduled", None) => ("it is to be sent later".to_owned(), step()),
            _ => match self.said() {
                Some(said) => (format!("no worker has taken it up again yet; {said}"), step()),
                None => ("no worker has taken it up yet".to_owned(), step()),
            },
        }
    }

    fn sending(&self) -> (String, String) {
        let since = self.last().map_or(self.line.created_at, |last| last.started_at);
        if self.now - since > TimeDelta::minutes(1) {
            let cause = format!(
                "the call to {} at {} has no recorded end: its worker was lost",
                self.by(),
                at(since)
            );
            let step = match self.notice {
                true => {
                    "It is held as `unknown` shortly, for it may have arrived; `deliveries resend` sends it again."
                }
                false => "It is sent again by itself.",
            };
            return (cause, self.obstacle.clone().unwrap_or_else(|| step.to_owned()));
        }
        (
            format!("{} has been asked since {}", self.by(), at(since)),
            "The answer comes within 10 s.".to_owned(),
        )
    }

    fn accepted(&self) -> (String, String) {
        let since = self.line.accepted_at.map(at).unwrap_or_default();
        let id = self.line.provider_id.as_ref().map(|id| format!(" as {id}")).unwrap_or_default();
        let step = match &self.line.provider_id {
            Some(id) => format!("Where it did not arrive, {} knows why: look {id} up there.", self.by()),
            None => format!("Where it did not arrive, {} knows why; it reports no outcome to us.", self.by()),
        };
        (format!("{} took it at {since}{id}", self.by()), step)
    }

    fn failed(&self) -> (String, String) {
        let cause = self.reason().unwrap_or_else(|| "no reason is recorded".to_owned());
        let end = at(self.line.expires_at);
        if self.line.expires_at <= self.now {
            return (
                cause,
                "Mend the cause; the person asks for another one, for its time is over.".to_owned(),
            );
        }
        let step = match self.last().and_then(|last| last.outcome.as_deref()) {
            Some("misconfigured") => {
                format!("Mend the provider's settings, then `deliveries resend` until {end}.")
            }
            Some("give_up") => {
                "The recipient cannot be reached so: ask the person for another address, number or device."
                    .to_owned()
            }
            _ => format!("Mend the cause, then `deliveries resend` until {end}."),
        };
        (cause, step)
    }

    fn expired(&self) -> (String, String) {
        let end = at(self.line.expires_at);
        let waited = match (self.opened_at, self.said()) {
            (_, Some(said)) => {
                format!("its time was over at {end}, after {} tries; the last: {said}", self.line.tries)
            }
            (Some(_), None) => format!("its time was over at {end}"),
            (None, None) => match self.job.and_then(|job| job.error.as_deref()) {
                Some(error) => format!("its time was over at {end} before a worker took it up: {error}"),
                None => format!("its time was over at {end} before a worker took it up"),
            },
        };
        let step = match &self.obstacle {
            Some(obstacle) => format!("The person asks for another one; but {obstacle}"),
            None if self.is_misconfigured() => {
                "Mend the provider's settings; then the person asks for another one.".to_owned()
            }
            None => "Nothing: the person asks for another one.".to_owned(),
        };
        (waited, step)
    }
}

/// Of `why: what to do`, the why.
fn before(obstacle: &str) -> &str {
    obstacle.rsplit_once(": ").map_or(obstacle, |(why, _)| why)
}

/// Of `why: what to do`, what to do.
fn after(obstacle: &str) -> String {
    obstacle.rsplit_once(": ").map_or(obstacle, |(_, what)| what).to_owned()
}
