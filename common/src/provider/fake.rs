//! The recording fake: for tests, in place of every provider. Keeps what it was given and answers
//! from a script; with the script at its end it accepts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use uuid::Uuid;

use super::{Answer, Mail, MailProvider, Push, PushProvider, Sms, SmsProvider};

/// One message as a provider saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Whole: tests read it.
    pub to: String,
    /// The subject of a mail, the title of a push message.
    pub subject: Option<String>,
    /// The text or the plain alternative.
    pub text: String,
    /// Mail only.
    pub html: Option<String>,
    /// The job; nil for push, which has none.
    pub idempotency_key: Uuid,
    /// SMS only: what webhooks name.
    pub reference: Option<Uuid>,
}

/// Records what is sent; clones share the record.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Tape>>);

#[derive(Debug, Default)]
struct Tape {
    sent: Vec<Sent>,
    script: VecDeque<Answer>,
}

impl Recorder {
    /// The answers to the next calls, in order.
    pub fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.tape().script.extend(answers);
    }

    /// Everything sent so far, accepted or not.
    pub fn sent(&self) -> Vec<Sent> {
        self.tape().sent.clone()
    }

    /// Everything sent since the last call of this.
    pub fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.tape().sent)
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, sent: Sent) -> Answer {
        let mut tape = self.tape();
        tape.sent.push(sent);
        let number = tape.sent.len();
        let accepted = || Answer::Accepted { provider_id: Some(format!("fake-{number}")) };
        tape.script.pop_front().unwrap_or_else(accepted)
    }
}

#[async_trait]
impl MailProvider for Recorder {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn send(&self, mail: &Mail<'_>) -> Answer {
        self.record(Sent {
            to: mail.to.to_owned(),
            subject: Some(mail.subject.to_owned()),
            text: mail.text.to_owned(),
            html: Some(mail.html.to_owned()),
            idempotency_key: mail.idempotency_key,
            reference: None,
        })
    }
}

#[async_trait]
impl SmsProvider for Recorder {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn send(&self, sms: &Sms<'_>) -> Answer {
        self.record(Sent {
            to: sms.to.to_owned(),
            subject: None,
            text: sms.text.to_owned(),
            html: None,
            idempotency_key: sms.idempotency_key,
            reference: Some(sms.reference),
        })
    }
}

#[async_trait]
impl PushProvider for Recorder {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn send(&self, push: &Push<'_>) -> Answer {
        self.record(Sent {
            to: push.token.to_owned(),
            subject: Some(push.title.to_owned()),
            text: push.text.to_owned(),
            html: None,
            idempotency_key: Uuid::nil(),
            reference: None,
        })
    }
}
