//! The ways a message can take: the two that identifiers have, and push.

use crate::user::Channel;

/// By which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// Text message.
    Sms,
    /// Mail.
    Email,
    /// To a device.
    Push,
}

impl Via {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sms, Self::Email, Self::Push];

    /// As rows and the wire say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Email => "email",
            Self::Push => "push",
        }
    }

    /// The way with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|via| via.name() == name)
    }
}

impl From<Channel> for Via {
    fn from(channel: Channel) -> Self {
        match channel {
            Channel::Sms => Self::Sms,
            Channel::Email => Self::Email,
        }
    }
}
