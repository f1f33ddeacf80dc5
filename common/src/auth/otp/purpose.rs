//! What codes are for.

use crate::user::Channel;

/// What a code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Making an account.
    Register,
    /// Signing in.
    Login,
    /// Choosing a new password.
    ResetPassword,
    /// Proving the phone number of one's own account.
    VerifyPhone,
    /// Proving the e-mail address of one's own account.
    VerifyEmail,
    /// Proving another identifier, to take it in place of the present one.
    ChangeIdentifier,
    /// Deleting one's own account.
    DeleteAccount,
    /// Proving once more who one is.
    StepUp,
    /// A link in place of a code; asked for on a route of its own.
    VerifyEmailLink,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Register,
        Self::Login,
        Self::ResetPassword,
        Self::VerifyPhone,
        Self::VerifyEmail,
        Self::ChangeIdentifier,
        Self::DeleteAccount,
        Self::StepUp,
        Self::VerifyEmailLink,
    ];

    /// The name on the wire and in rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Login => "login",
            Self::ResetPassword => "reset_password",
            Self::VerifyPhone => "verify_phone",
            Self::VerifyEmail => "verify_email",
            Self::ChangeIdentifier => "change_identifier",
            Self::DeleteAccount => "delete_account",
            Self::StepUp => "step_up",
            Self::VerifyEmailLink => "verify_email_link",
        }
    }

    /// Whether only somebody signed in may ask, and hand the code in.
    pub fn wants_bearer(self) -> bool {
        !matches!(self, Self::Register | Self::Login | Self::ResetPassword | Self::VerifyEmailLink)
    }

    /// Whether it proves an identifier of one's own that is not proved yet, and which kind.
    pub fn verifies(self) -> Option<Channel> {
        match self {
            Self::VerifyPhone => Some(Channel::Sms),
            Self::VerifyEmail => Some(Channel::Email),
            _ => None,
        }
    }

    /// Whether its answer must not tell a known identifier from an unknown one by a refusal: over the
    /// budget of text messages it is answered as ever.
    pub(super) fn is_quiet(self) -> bool {
        matches!(self, Self::Login | Self::ResetPassword)
    }

    /// Whether it may go to somebody who has proved nothing yet: such text messages leave a fifth of the
    /// day's for the others.
    pub(super) fn is_newcomers(self) -> bool {
        matches!(self, Self::Register | Self::VerifyPhone | Self::VerifyEmail | Self::ChangeIdentifier)
    }
}
