//! Development's provider: accepts everything and keeps nothing. What was accepted is seen in the
//! deliveries, and its text is derived when somebody looks.

use async_trait::async_trait;

use super::{Answer, Mail, MailProvider, Push, PushProvider, Sms, SmsProvider};

/// Accepts and keeps nothing.
#[derive(Clone, Copy, Debug)]
pub struct Inbox;

/// As delivery rows call it.
pub const NAME: &str = "inbox";

const ACCEPTED: Answer = Answer::Accepted { provider_id: None };

#[async_trait]
impl MailProvider for Inbox {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn send(&self, _mail: &Mail<'_>) -> Answer {
        ACCEPTED
    }
}

#[async_trait]
impl SmsProvider for Inbox {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn send(&self, _sms: &Sms<'_>) -> Answer {
        ACCEPTED
    }
}

#[async_trait]
impl PushProvider for Inbox {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn send(&self, _push: &Push<'_>) -> Answer {
        ACCEPTED
    }
}
