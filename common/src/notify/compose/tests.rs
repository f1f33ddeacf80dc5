use super::*;
use crate::config::Source;

fn config() -> Config {
    let pairs = [("KERYU_ENV", "development"), ("DATABASE_URL", "postgres://x"), ("REDIS_URL", "redis://x")];
    Config::read(&mut Source::of(pairs)).expect("config")
}

fn seed(config: &Config) -> Seed {
    Seed {
        key_id: config.keys.current().to_owned(),
        nonce: vec![7; 16],
        purpose: "login".to_owned(),
        identifier: "ada@example.org".to_owned(),
        digits: 6,
    }
}

fn recipe(kind: &'static str, channel: &'static str, seed: Option<Seed>) -> Recipe<'static> {
    const NOTHING: &serde_json::Value = &serde_json::Value::Null;
    Recipe {
        kind,
        channel,
        language: "en",
        purpose: Some("login"),
        seed,
        challenge_id: Some(Uuid::nil()),
        minutes: 5,
        facts: NOTHING,
    }
}

#[test]
fn a_text_holds_the_code_of_its_challenge() {
    let config = config();
    let code = otp::code(&config.keys, &seed(&config)).expect("code");
    let sms = render(&config, &recipe("otp_code", "sms", Some(seed(&config)))).expect("text");
    assert!(matches!(sms, (Via::Sms, Text::Sms(text)) if text.starts_with(&code)));
    let mail = render(&config, &recipe("otp_code", "email", Some(seed(&config)))).expect("text");
    assert!(matches!(mail, (Via::Email, Text::Mail(mail)) if mail.html.contains(&code)));
    let told = render(&config, &recipe("account_exists", "sms", None)).expect("text");
    assert!(matches!(told, (_, Text::Sms(text)) if text.contains("already has an account")));
}

#[test]
fn what_cannot_be_made_is_told_without_secrets() {
    let config = config();
    let lost = Seed { key_id: "gone".to_owned(), ..seed(&config) };
    let reason = |recipe: &Recipe<'_>| render(&config, recipe).expect_err("reason");
    assert!(reason(&recipe("otp_code", "sms", Some(lost))).contains("KERYU_SECRET_KEY"));
    assert!(reason(&recipe("otp_code", "sms", None)).contains("challenge"));
    assert!(reason(&recipe("otp_codes", "sms", None)).contains("not a message"));
}

#[test]
fn minutes_are_rounded_up_and_never_none() {
    let at = |millis| DateTime::<Utc>::from_timestamp_millis(millis).expect("time");
    for (millis, wanted) in
        [(300_000, 5), (299_999, 5), (240_001, 5), (240_000, 4), (1, 1), (0, 1), (-5_000, 1)]
    {
        assert_eq!(minutes(at(0), at(millis)), wanted, "{millis}");
    }
}
