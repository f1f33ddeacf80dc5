use super::*;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).expect("time")
}

fn row(purpose: &str, state: State) -> Receipted {
    Receipted {
        channel: "sms".to_owned(),
        purpose: Some(purpose.to_owned()),
        state: state.name().to_owned(),
        attempts: 1,
        opened_at: Some(at(10)),
        expires_at: at(300),
        proved: false,
        asked_channel: Some("sms".to_owned()),
    }
}

fn shown(row: Receipted, second: i64) -> Receipt {
    show(Uuid::nil(), row, at(second)).expect("receipt")
}

#[test]
fn what_a_provider_did_is_not_seen_of_a_guarded_code() {
    for purpose in ["login", "reset_password"] {
        for second in [20, 299, 300, 9_000] {
            // an unknown identifier: accepted when it was opened, no try counted
            let unknown = shown(Receipted { attempts: 0, ..row(purpose, State::Accepted) }, second);
            assert_eq!(unknown.state, if second < 300 { State::Accepted } else { State::Expired });
            for state in State::ALL {
                let known = Receipted { attempts: 7, channel: "email".to_owned(), ..row(purpose, state) };
                assert_eq!(shown(known, second), unknown, "{state} at {second}");
            }
        }
        let waiting = shown(Receipted { opened_at: None, attempts: 0, ..row(purpose, State::Queued) }, 20);
        assert_eq!((waiting.state, waiting.tries), (State::Queued, 0));
    }
}

#[test]
fn all_is_told_once_the_code_was_proved_and_for_other_purposes() {
    let proved = Receipted { proved: true, attempts: 3, ..row("login", State::Delivered) };
    assert_eq!((shown(proved.clone(), 20).state, shown(proved, 20).tries), (State::Delivered, 3));
    for state in State::ALL {
        assert_eq!(shown(row("register", state), 20).state, state);
    }
    assert_eq!(shown(row("register", State::Unknown), 300).state, State::Expired);
    assert_eq!(shown(row("register", State::Failed), 300).state, State::Failed);
}
