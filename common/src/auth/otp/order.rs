//! What is sent, and to whom it is said to belong. Pure: who has the identifier in, what to do out.

use uuid::Uuid;

use super::{Ask, Purpose};
use crate::notify::Message;

/// What is known of an identifier.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// Who has proved it.
    pub owner: Option<Uuid>,
    /// The owner's language.
    pub language: Option<String>,
    /// Whether an account holds it that nobody has proved it for.
    pub held: bool,
}

/// What a request leads to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    /// The code, or a note in its place.
    pub message: Message,
    /// Whether a provider is called.
    pub sends: bool,
    /// The account the code is bound to; without one it proves the identifier alone.
    pub bound_to: Option<Uuid>,
    /// Whose message it is.
    pub concerns: Option<Uuid>,
    /// In place of the caller's language.
    pub language: Option<String>,
}

/// The code; to the owner of an identifier that is another's to take, a note in its place; to one nobody
/// has, for `login` and `reset_password`, nothing, by the same rows.
pub(super) fn decide(ask: &Ask, standing: &Standing) -> Order {
    let bound_to = ask.bearer.map(|bearer| bearer.user_id).or(ask.bound_to);
    let takes = !matches!(ask.purpose, Purpose::Login | Purpose::ResetPassword) || bound_to.is_some();
    if takes && standing.owner.is_some() && standing.owner != bound_to {
        return Order {
            message: Message::AccountExists,
            sends: true,
            bound_to: bound_to.or(standing.owner),
            concerns: standing.owner,
            language: standing.language.clone(),
        };
    }
    let message = match ask.purpose {
        Purpose::VerifyEmailLink => Message::VerifyEmailLink,
        _ => Message::OtpCode,
    };
    let reached = match ask.purpose {
        Purpose::ResetPassword => standing.owner.is_some(),
        Purpose::Login => standing.owner.is_some() || standing.held || bound_to.is_some(),
        _ => true,
    };
    let bound_to = bound_to.or(standing.owner);
    Order { message, sends: reached, bound_to, concerns: bound_to, language: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::otp::Bearer;
    use crate::user::Identifier;

    const ADA: Uuid = Uuid::from_u128(1);
    const BOB: Uuid = Uuid::from_u128(2);

    fn ask(purpose: Purpose) -> Ask {
        Ask::of(Identifier::Email("ada@example.org".to_owned()), purpose)
    }

    fn owned() -> Standing {
        Standing { owner: Some(ADA), language: Some("fr".to_owned()), held: false }
    }

    fn told(ask: &Ask, standing: &Standing) -> (Message, bool, Option<Uuid>) {
        let Order { message, sends, bound_to, .. } = decide(ask, standing);
        (message, sends, bound_to)
    }

    #[test]
    fn a_code_goes_to_who_can_use_it() {
        use Message::{AccountExists, OtpCode};
        use Purpose::{Login, Register, ResetPassword};
        let (nobody, held) = (Standing::default(), Standing { held: true, ..Standing::default() });
        for (purpose, standing, wanted) in [
            (Register, &nobody, (OtpCode, true, None)),
            (Register, &held, (OtpCode, true, None)),
            (Register, &owned(), (AccountExists, true, Some(ADA))),
            (Login, &nobody, (OtpCode, false, None)),
            (Login, &held, (OtpCode, true, None)),
            (Login, &owned(), (OtpCode, true, Some(ADA))),
            (ResetPassword, &nobody, (OtpCode, false, None)),
            (ResetPassword, &held, (OtpCode, false, None)),
            (ResetPassword, &owned(), (OtpCode, true, Some(ADA))),
        ] {
            assert_eq!(told(&ask(purpose), standing), wanted, "{purpose:?} {standing:?}");
        }
    }

    #[test]
    fn what_waits_for_a_proof_is_bound_and_never_takes_what_another_has_proved() {
        for purpose in [Purpose::Register, Purpose::Login] {
            let bound = Ask { bound_to: Some(BOB), ..ask(purpose) };
            let held = Standing { held: true, ..Standing::default() };
            assert_eq!(told(&bound, &held), (Message::OtpCode, true, Some(BOB)));
            assert_eq!(told(&bound, &owned()), (Message::AccountExists, true, Some(BOB)));
            assert_eq!(decide(&bound, &owned()).concerns, Some(ADA));
            assert_eq!(decide(&bound, &owned()).language.as_deref(), Some("fr"), "the owner's language");
        }
        for purpose in Purpose::ALL.into_iter().filter(|purpose| purpose.wants_bearer()) {
            let bearer = |user_id| Some(Bearer { user_id, actor: user_id, session_id: Uuid::nil() });
            let of_bob = Ask { bearer: bearer(BOB), ..ask(purpose) };
            assert_eq!(told(&of_bob, &owned()).0, Message::AccountExists, "{purpose:?}");
            let of_ada = Ask { bearer: bearer(ADA), ..ask(purpose) };
            assert_eq!(told(&of_ada, &owned()), (Message::OtpCode, true, Some(ADA)), "{purpose:?}");
        }
    }
}
