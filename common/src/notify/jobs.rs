//! What happens later: handing one message to a provider.
//!
//! Before and after each provider call stands an attempt row (what is left open by a crash is an
//! unknown outcome). An unknown outcome of a code or link means: send it again, it is the same one. That
//! of a notice means: hold it and tell; the delivery ends `unknown`, and staff may send it again. No
//! transaction is open during a call.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::compose::{Text, compose};
use super::pace;
use super::store::{self, Closed, Opened};
use super::template::{MailText, PushText};
use super::{State, Via, fallback};
use crate::auth::otp;
use crate::context::Context;
use crate::device;
use crate::job::{Backoff, Job, Lease, Queue, Verdict};
use crate::provider::{Answer, Mail, PATIENCE, Push, Secret, Sms};
use crate::user::Identifier;

/// Hands a delivery to the providers of its channel, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliverMessage {
    /// Which; all else is in its row.
    pub delivery_id: Uuid,
    /// When it was asked for: the partition its row is in.
    pub created_at: DateTime<Utc>,
}

impl Job for DeliverMessage {
    const KIND: &'static str = "notify.deliver_message";
    const QUEUE: Queue = Queue::Critical;
    const PRIORITY: i16 = 0;
    // the message's time ends the tries: an hour of them, the longest life of a code, is no more than this
    const MAX_ATTEMPTS: i16 = 200;
    const TIMEOUT: Duration = Duration::from_secs(30);
    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), most: Duration::from_secs(30) };

    async fn run(&self, ctx: &Context, lease: &Lease) -> Verdict {
        deliver(ctx, lease, self.delivery_id, self.created_at, true).await
    }
}

/// Hands a notice to the providers of its channel, in their order; nobody waits at a screen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliverNotice {
    /// Which; all else is in its row.
    pub delivery_id: Uuid,
    /// When it was asked for: the partition its row is in.
    pub created_at: DateTime<Utc>,
}

impl Job for DeliverNotice {
    const KIND: &'static str = "notify.deliver_notice";
    const QUEUE: Queue = Queue::Default;
    // a day of an outage is 190 tries, ten minutes less a quarter apart
    const MAX_ATTEMPTS: i16 = 250;
    const TIMEOUT: Duration = DeliverMessage::TIMEOUT;
    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(2), most: Duration::from_secs(600) };

    async fn run(&self, ctx: &Context, lease: &Lease) -> Verdict {
        deliver(ctx, lease, self.delivery_id, self.created_at, false).await
    }
}

/// Sends what is open. `again`: a call whose end nobody knows is made once more.
async fn deliver(
    ctx: &Context,
    lease: &Lease,
    delivery_id: Uuid,
    created_at: DateTime<Utc>,
    again: bool,
) -> Verdict {
    if !lease.holds() {
        return not_held();
    }
    match pace::turn(ctx, delivery_id, created_at).await {
        Ok(None) => {}
        Ok(Some((after, away))) => {
            let asked = fallback::ask_beyond(ctx, lease, delivery_id, created_at, after).await;
            return asked.map_or_else(Verdict::from, |()| away);
        }
        Err(error) => return error.into(),
    }
    let opened = match ctx.notify.take_up(delivery_id, created_at, ctx.now(), again).await {
        Ok(Some(opened)) => opened,
        Ok(None) => return Verdict::Done,
        Err(error) => return error.into(),
    };
    if opened.state != State::Sending.name() {
        return Verdict::Done;
    }
    let mut delivery = Delivery { ctx, lease, opened, again, token: None };
    // the first try may have been cut short before it could ask for it
    if delivery.opened.attempt > 1
        && let Err(error) = fallback::ask(ctx, lease, &delivery.opened, false).await
    {
        return delivery.put_back(error).await;
    }
    match delivery.spend().await {
        Ok(true) => {}
        Ok(false) => return delivery.fail("the text messages of the day are used up".to_owned()).await,
        Err(error) => return delivery.put_back(error).await,
    }
    match compose(&ctx.config, &delivery.opened, ctx.now()) {
        Ok((Via::Push, text)) => match delivery.find_token().await {
            Ok(Some(token)) => {
                delivery.token = Some(token);
                delivery.send(Via::Push, &text).await
            }
            Ok(None) => delivery.fail("the device is switched off or signed out".to_owned()).await,
            Err(error) => delivery.put_back(error).await,
        },
        Ok((via, text)) => delivery.send(via, &text).await,
        Err(reason) => delivery.fail(reason).await,
    }
}

/// Somebody else may have the job soon: they shall call the provider.
fn not_held() -> Verdict {
    Verdict::Snooze {
        after: Duration::from_secs(1),
        reason: "the worker could not renew its lease".to_owned(),
    }
}

/// One run of the job on a delivery that is open.
struct Delivery<'a> {
    ctx: &'a Context,
    lease: &'a Lease,
    opened: Opened,
    again: bool,
    /// The device's, for push: looked up for this run and kept nowhere.
    token: Option<Secret>,
}

impl Delivery<'_> {
    /// Calls the providers in order until one takes the message or says that nobody will.
    async fn send(&self, via: Via, text: &Text) -> Verdict {
        let names = self.ctx.notify.names(via);
        let began = Instant::now();
        let mut worst: Option<Answer> = None;
        let mut started_at = self.opened.started_at;
        for (step, provider) in names.iter().copied().enumerate() {
            let number = i16::try_from(step).unwrap_or(i16::MAX);
            if step > 0 {
                started_at = self.ctx.now();
                let note = store::insert_attempt(
                    &self.ctx.db,
                    self.opened.delivery_id,
                    self.opened.attempt,
                    number,
                    provider,
                    started_at,
                );
                if let Err(error) = note.await {
                    return self.put_back(error.into()).await;
                }
            }
            let held = self.lease.holds();
            let answer = match held {
                true => match pace::failover(self.ctx, step, provider, self.again).await {
                    None => self.ctx.metrics.called(provider, Answer::name, self.call(step, text)).await,
                    Some(over) => over,
                },
                false => Answer::retry("not called: the worker could not renew its lease"),
            };
            // another provider may still be called if its answer can come before the job's time is over
            let time_left = began.elapsed() + PATIENCE < DeliverMessage::TIMEOUT;
            let fails_over = fails_over(&answer, self.again);
            let goes_on = held && time_left && step + 1 < names.len() && fails_over;
            let worse = worst_of(worst.take(), answer.clone());
            let state = match (goes_on, &answer) {
                (true, _) => State::Sending,
                (false, Answer::Accepted { .. }) => State::Accepted,
                (false, _) => state_after(&worse, self.lease.is_last() && held),
            };
            let taken = matches!(answer, Answer::Accepted { .. });
            if !goes_on
                && !taken
                && let Err(error) = self.not_taken(state).await
            {
                // the second way is not asked for yet: the next run does
                let state = if state == State::Failed { State::Queued } else { state };
                return match self.close(number, started_at, provider, &answer, state).await {
                    Ok(()) | Err(_) => error.into(),
                };
            }
            if let Err(error) = self.close(number, started_at, provider, &answer, state).await {
                return error.into();
            }
            if taken {
                self.end_other_way().await;
            }
            match (held, goes_on, &answer) {
                (false, ..) => return not_held(),
                (_, false, Answer::Accepted { .. }) => return Verdict::Done,
                (_, false, _) => return verdict(worse, self.again),
                (_, true, _) => worst = Some(worse),
            }
        }
        self.fail(format!("no provider for {} is configured", via.name())).await
    }

    async fn call(&self, step: usize, text: &Text) -> Answer {
        let (to, key) = (self.opened.recipient.as_str(), self.lease.job_id);
        let answer = match text {
            Text::Sms(text) => match self.ctx.notify.sms().get(step) {
                Some(provider) => {
                    let reference = self.opened.delivery_id;
                    provider.send(&Sms { to, text, reference, idempotency_key: key }).await
                }
                None => Answer::retry("no such provider"),
            },
            Text::Mail(MailText { subject, text, html }) => match self.ctx.notify.mail().get(step) {
                Some(provider) => {
                    let at = self.ctx.now();
                    provider.send(&Mail { to, subject, text, html, idempotency_key: key, at }).await
                }
                None => Answer::retry("no such provider"),
            },
            Text::Push(push) => self.push(step, push).await,
        };
        // every answer is in its attempt row; what an operator must mend is worth a line besides
        if let Answer::Misconfigured { reason } = &answer {
            tracing::warn!(job_id = %key, channel = self.opened.channel, reason, "a provider is not set up right");
        }
        answer
    }

    async fn push(&self, step: usize, PushText { title, text }: &PushText) -> Answer {
        let (Some(token), Some(provider)) = (&self.token, self.ctx.notify.push().get(step)) else {
            return Answer::retry("no such provider");
        };
        let (at, expires_at) = (self.ctx.now(), self.opened.expires_at);
        let push = Push { token: token.reveal(), title, text, kind: &self.opened.kind, at, expires_at };
        let answer = provider.send(&push).await;
        if let (Answer::Dead { .. }, Some(device)) = (&answer, self.device())
            && let Err(error) = device::push::bury(self.ctx, device, token).await
        {
            // the next message to it finds it dead again
            tracing::warn!(job_id = %self.lease.job_id, %error, "a dead push token was not switched off");
        }
        answer
    }

    /// The device of a push message.
    fn device(&self) -> Option<Uuid> {
        self.opened.recipient.parse().ok()
    }

    async fn find_token(&self) -> crate::Result<Option<Secret>> {
        match (self.opened.user_id, self.device()) {
            (Some(user_id), Some(device)) => device::push::token(self.ctx, user_id, device).await,
            _ => Ok(None),
        }
    }

    /// Before a try is written down that found no taker: another channel may be tried at the deadline, or now
    /// where there will be no other try. Once asked for, it stays asked for.
    async fn not_taken(&self, state: State) -> crate::Result<()> {
        // a notice that may have arrived goes by no other way
        if state == State::Unknown && !self.again {
            return Ok(());
        }
        let lost = state == State::Failed;
        if lost || self.opened.attempt == 1 {
            fallback::ask(self.ctx, self.lease, &self.opened, lost).await?;
        }
        Ok(())
    }

    /// Spends one of the day's text messages for a notice that is one, before its first try. False: none is
    /// left. (Those of codes are spent when they are asked for.)
    async fn spend(&self) -> crate::Result<bool> {
        let is_first = !self.again && self.opened.attempt == 1;
        if !is_first || self.opened.channel != Via::Sms.name() {
            return Ok(true);
        }
        let to = Identifier::Phone(self.opened.recipient.clone());
        let mut db = self.ctx.db.acquire().await?;
        otp::spend_sms(&self.ctx.config, &mut db, &to, true, 1, self.ctx.now()).await
    }

    /// After a fault of ours before a provider was called: the delivery waits for its next try.
    async fn put_back(&self, error: crate::Error) -> Verdict {
        let answer = Answer::retry("not called: a fault of ours came before");
        let Opened { started_at, .. } = self.opened;
        match self.close(0, started_at, "", &answer, State::Queued).await {
            Ok(()) | Err(_) => error.into(),
        }
    }

    /// A notice that went two ways and was taken on one goes no further on the other.
    async fn end_other_way(&self) {
        let Opened { delivery_id, user_id, fell_back_at, ref kind, .. } = self.opened;
        let (false, Some(user_id), Some(at)) = (self.again, user_id, fell_back_at) else { return };
        let now = self.ctx.now();
        let ended = store::set_told_otherwise(&self.ctx.db, delivery_id, user_id, kind, at, now).await;
        if let Err(error) = ended {
            tracing::warn!(job_id = %self.lease.job_id, %error, "a notice may be told by both ways");
        }
    }

    async fn close(
        &self,
        step: i16,
        started_at: DateTime<Utc>,
        provider: &'static str,
        answer: &Answer,
        state: State,
    ) -> crate::Result<()> {
        let provider_id = match answer {
            Answer::Accepted { provider_id } => provider_id.clone(),
            _ => None,
        };
        if state != State::Sending {
            self.ctx.metrics.delivered(&self.opened.kind, &self.opened.channel, state);
        }
        let end = Closed {
            delivery_id: self.opened.delivery_id,
            created_at: self.opened.created_at,
            attempt: self.opened.attempt,
            step,
            started_at,
            outcome: answer.name(),
            provider,
            provider_id,
            reason: answer.reason().map(str::to_owned),
            state: state.name(),
        };
        self.ctx.notify.write_down(self.ctx.now(), end).await
    }

    /// Ends the delivery: trying again would not help. The job did its work, the row holds the reason.
    async fn fail(&self, reason: String) -> Verdict {
        tracing::warn!(job_id = %self.lease.job_id, channel = self.opened.channel, reason, "no message was made");
        let names = Via::named(&self.opened.channel).map(|via| self.ctx.notify.names(via));
        let provider = names.and_then(|names| names.first().copied()).unwrap_or_default();
        let answer = Answer::GiveUp { reason };
        if let Err(error) = self.not_taken(State::Failed).await {
            return self.put_back(error).await;
        }
        match self.close(0, self.opened.started_at, provider, &answer, State::Failed).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

/// Whether the next provider may do what this one did not. Who refuses a recipient speaks for all; what
/// one may have taken is the next one's only where it may go `again`.
fn fails_over(answer: &Answer, again: bool) -> bool {
    match answer {
        Answer::Retry { .. } | Answer::Misconfigured { .. } => true,
        Answer::Unknown { .. } => again,
        Answer::Accepted { .. } | Answer::GiveUp { .. } | Answer::Dead { .. } => false,
    }
}

/// Of several providers' answers, the one that decides: what may have been accepted weighs most, then
/// what a later try may mend soonest.
fn worst_of(so_far: Option<Answer>, answer: Answer) -> Answer {
    let weight = |answer: &Answer| match answer {
        Answer::Accepted { .. } => 4,
        Answer::Unknown { .. } => 3,
        Answer::Retry { .. } => 2,
        Answer::Misconfigured { .. } => 1,
        Answer::GiveUp { .. } | Answer::Dead { .. } => 0,
    };
    match so_far {
        Some(earlier) if weight(&earlier) > weight(&answer) => earlier,
        _ => answer,
    }
}

/// The delivery's state after the last provider of a try.
fn state_after(answer: &Answer, last: bool) -> State {
    match answer {
        Answer::Accepted { .. } => State::Accepted,
        Answer::GiveUp { .. } | Answer::Dead { .. } => State::Failed,
        Answer::Unknown { .. } => State::Unknown,
        Answer::Retry { .. } | Answer::Misconfigured { .. } if last => State::Failed,
        Answer::Retry { .. } | Answer::Misconfigured { .. } => State::Queued,
    }
}

/// The job's verdict.
fn verdict(answer: Answer, again: bool) -> Verdict {
    match answer {
        Answer::Accepted { .. } | Answer::GiveUp { .. } | Answer::Dead { .. } => Verdict::Done,
        Answer::Unknown { .. } if !again => Verdict::Done,
        Answer::Retry { after, reason } => Verdict::Retry { after, reason },
        Answer::Unknown { reason } | Answer::Misconfigured { reason } => {
            Verdict::Retry { after: None, reason }
        }
    }
}

#[cfg(test)]
mod tests;
