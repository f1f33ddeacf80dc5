//! The rotation of refresh tokens against a model of it: random sequences of everything that can be done
//! with the tokens of three sessions, and after each step both must agree. A failure prints the seed;
//! `KERYU_SEED=n` runs that one alone.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::engine_model::Dice;
use crate::support::Product;

const SESSIONS: usize = 3;
const STEPS: usize = 150;
/// How long after its rotation a token may be shown once more.
const RETRY: u64 = 30;

/// What the model knows of a session.
struct Known {
    /// Every refresh token it ever had, oldest first: the last is the present one.
    tokens: Vec<String>,
    /// When each but the last was rotated.
    rotated: Vec<u64>,
    ended: bool,
}

impl Known {
    fn new(tokens: &Value) -> Self {
        Self { tokens: vec![text(tokens)], rotated: Vec::new(), ended: false }
    }

    /// What showing one of its tokens must do. An answer with tokens holds the last of `tokens`, if that is
    /// known already.
    fn show(&mut self, which: usize, now: u64) -> Expected {
        if self.ended {
            return Expected::Refused("auth.session_ended");
        }
        let present = self.tokens.len() - 1;
        if which == present {
            self.rotated.push(now);
            return Expected::Next;
        }
        // the row keeps the last two rotations: a token before those counts from the earlier of them
        let calm = now <= self.rotated[which.max(present.saturating_sub(2))] + RETRY;
        if calm && which + 1 == present {
            return Expected::Again;
        }
        self.ended = !calm;
        Expected::Refused("auth.refresh_reused")
    }
}

#[derive(Debug)]
enum Expected {
    Next,
    Again,
    Refused(&'static str),
}

fn text(tokens: &Value) -> String {
    tokens["refresh_token"].as_str().expect("refresh_token").to_owned()
}

/// The token with another secret: its session and generation are right, nobody made it.
fn made_up(token: &str, dice: &mut Dice) -> String {
    let mut bytes = URL_SAFE_NO_PAD.decode(token).expect("base64");
    let at = 20 + dice.roll(32);
    bytes[at] ^= 1 << dice.roll(8);
    URL_SAFE_NO_PAD.encode(bytes)
}

async fn refresh(product: &Product, token: &str) -> (u16, Value) {
    product.post("/api/auth/refresh", json!({ "refresh_token": token })).await
}

async fn run(seed: u64) {
    let product = Product::new().await;
    let mut dice = Dice(seed);
    let (mut known, mut clock, mut families_ended) = (Vec::new(), 0_u64, 0);
    for n in 0..SESSIONS {
        let tokens = product.register(&format!("p{n}@example.org"), &format!("person{n}")).await;
        known.push(Known::new(&tokens));
    }
    for step in 0..STEPS {
        let said = format!("KERYU_SEED={seed}, step {step}");
        let which = dice.roll(SESSIONS);
        let session = &mut known[which];
        let present = session.tokens.len() - 1;
        let shown = match dice.roll(20) {
            0..=5 => present,
            6..=9 => present.saturating_sub(1),
            10..=11 => dice.roll(present + 1),
            12..=13 => {
                let token = made_up(&session.tokens[dice.roll(present + 1)], &mut dice);
                let (status, refused) = refresh(&product, &token).await;
                assert_eq!((status, &refused["code"]), (401, &json!("auth.refresh_invalid")), "{said}");
                continue;
            }
            14..=18 => {
                let seconds = 1 + dice.roll(40) as u64;
                product.advance(Duration::from_secs(seconds));
                clock += seconds;
                continue;
            }
            // rarely: there must be something left to rotate
            _ if dice.roll(3) == 0 && !session.ended => {
                let body = json!({ "refresh_token": session.tokens[dice.roll(present + 1)] });
                assert_eq!(product.post("/api/auth/logout", body).await.0, 200, "{said}");
                session.ended = true;
                continue;
            }
            _ => continue,
        };
        let before = session.ended;
        let expected = session.show(shown, clock);
        families_ended += i64::from(session.ended && !before);
        let (status, answer) = refresh(&product, &session.tokens[shown]).await;
        let said = format!(
            "{said}: token {shown} of {which} (present {present}) at {clock}: {expected:?}, {answer}"
        );
        match expected {
            Expected::Next => {
                assert_eq!(status, 200, "{said}");
                assert!(!session.tokens.contains(&text(&answer)), "{said}");
                session.tokens.push(text(&answer));
            }
            Expected::Again => {
                assert_eq!((status, &text(&answer)), (200, &session.tokens[present]), "{said}");
            }
            Expected::Refused(code) => {
                assert_eq!((status, &answer["code"]), (401, &json!(code)), "{said}");
            }
        }
        let lives = "SELECT count(*) FROM sessions WHERE ended_at IS NULL";
        let alive = known.iter().filter(|session| !session.ended).count();
        assert_eq!(product.world.count(lives).await, alive as i64, "{said}");
        if alive == 0 {
            break;
        }
    }
    let reused = "SELECT count(*) FROM sessions WHERE end_reason = 'token_reuse'";
    assert_eq!(product.world.count(reused).await, families_ended, "KERYU_SEED={seed}");
}

#[tokio::test]
async fn refresh_tokens_rotate_as_the_model_says() {
    if let Some(seed) = std::env::var("KERYU_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(seed).await;
    }
    for _ in 0..8 {
        let seed = u64::from_le_bytes(keryu_common::secret::random());
        run(seed).await;
    }
}
