use std::collections::HashMap;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::*;

/// A server that speaks ESMTP by the letter: commands in their order, or 503.
#[derive(Clone, Default)]
struct Server {
    /// In place of the usual reply to a step (`greeting`, `AUTH`, `MAIL`, `RCPT`, `DATA`, `content`).
    /// `close` closes the connection there; `silence` says nothing more.
    replies: HashMap<&'static str, &'static str>,
    wants_auth: bool,
    /// Closes each connection after so many mails.
    mails_per_connection: usize,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn replying(step: &'static str, reply: &'static str) -> Self {
        Self { replies: HashMap::from([(step, reply)]), mails_per_connection: 100, ..Self::default() }
    }

    async fn start(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let port = listener.local_addr().expect("address").port();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                server.hear("connected");
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        port
    }

    fn hear(&self, line: &str) {
        self.heard.lock().expect("lock").push(line.to_owned());
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("lock").clone()
    }

    async fn serve(&self, stream: TcpStream) -> Option<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let (mut greeted, mut signed_in, mut state, mut mails) = (false, !self.wants_auth, "", 0);
        let mut say = async |step: &str, usual: &str| -> Option<bool> {
            match self.replies.get(step).copied().unwrap_or(usual) {
                "close" => return None,
                "silence" => std::future::pending().await,
                reply => write.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?,
            }
            Some(self.replies.get(step).is_none_or(|reply| reply.starts_with(['2', '3'])))
        };
        say("greeting", "220 localhost ESMTP").await?;
        while let Some(line) = lines.next_line().await.ok()? {
            self.hear(&line);
            let word = line.split(' ').next().unwrap_or_default().to_uppercase();
            match word.as_str() {
                "EHLO" => {
                    greeted = true;
                    say("EHLO", "250-localhost\r\n250-8BITMIME\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE 1000000")
                        .await?;
                }
                "AUTH" if greeted && !signed_in => {
                    // user "us:er", password "p@ss word"
                    let right = line == "AUTH PLAIN AHVzOmVyAHBAc3Mgd29yZA==";
                    signed_in =
                        say("AUTH", if right { "235 2.7.0 in" } else { "535 5.7.8 no" }).await? && right;
                }
                "MAIL" if greeted && !signed_in => {
                    say("", "530 5.7.0 sign in first").await?;
                }
                "MAIL"
                    if greeted
                        && state.is_empty()
                        && line.starts_with("MAIL FROM:<no-reply@example.org>") =>
                {
                    state = if say("MAIL", "250 2.1.0 ok").await? { "MAIL" } else { "" };
                }
                "RCPT" if state == "MAIL" && line.starts_with("RCPT TO:<") => {
                    state = if say("RCPT", "250 2.1.5 ok").await? { "RCPT" } else { "MAIL" };
                }
                "DATA" if state == "RCPT" && say("DATA", "354 go on").await? => {
                    loop {
                        let line = lines.next_line().await.ok()??;
                        self.hear(&line);
                        if line == "." {
                            break;
                        }
                    }
                    say("content", "250 2.0.0 queued").await?;
                    state = "";
                    mails += 1;
                    if mails == self.mails_per_connection {
                        return None;
                    }
                }
                "DATA" if state == "RCPT" => {}
                "RSET" => {
                    state = "";
                    say("", "250 2.0.0 ok").await?;
                }
                "QUIT" => {
                    say("", "221 2.0.0 bye").await?;
                    return None;
                }
                _ => {
                    say("", "503 5.5.1 bad sequence").await?;
                }
            }
        }
        None
    }
}

fn smtp(url: &str) -> Smtp {
    Smtp::open(Settings::parse(url, "Keryu <no-reply@example.org>").expect(url)).expect("provider")
}

async fn send(provider: &Smtp, to: &str) -> Answer {
    let mail = Mail {
        to,
        subject: "123456 is your Kéryu code",
        text: "Your code:\n\n.123456\n",
        html: "<p>Your code: <b>123456</b></p>",
        idempotency_key: Uuid::from_u128(8),
        at: DateTime::from_timestamp(1_000_000_000, 0).expect("time"),
    };
    provider.send(&mail).await
}

use chrono::DateTime;

const ACCEPTED: Answer = Answer::Accepted { provider_id: None };

#[tokio::test]
async fn a_mail_goes_with_its_headers_and_both_alternatives() {
    let server = Server { wants_auth: true, ..Server::replying("", "") };
    let port = server.start().await;
    let provider = smtp(&format!("smtp://us%3aer:p%40ss%20word@localhost:{port}"));
    assert_eq!(send(&provider, "ada@example.org").await, ACCEPTED);
    let heard = server.heard();
    for line in [
        "RCPT TO:<ada@example.org>",
        "Message-ID: <00000000-0000-0000-0000-000000000008@example.org>",
        "From: Keryu <no-reply@example.org>",
        "To: ada@example.org",
        "Date: Sun, 09 Sep 2001 01:46:40 +0000",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        "..123456",
    ] {
        assert!(heard.iter().any(|heard| heard == line), "{line} in {heard:#?}");
    }
    for part in [
        "Subject: ",
        "Content-Type: multipart/alternative;",
        "Content-Type: text/plain",
        "Content-Type: text/html",
    ] {
        assert!(heard.iter().any(|heard| heard.starts_with(part)), "{part}");
    }
    assert!(heard.iter().all(|line| line.is_ascii() && line.len() <= 998));
}

#[tokio::test]
async fn connections_are_used_again_and_a_closed_one_is_replaced() {
    let server = Server { mails_per_connection: 2, ..Server::replying("", "") };
    let provider = smtp(&format!("smtp://localhost:{}", server.start().await));
    for _ in 0..3 {
        assert_eq!(send(&provider, "ada@example.org").await, ACCEPTED);
    }
    assert_eq!(server.heard().iter().filter(|line| *line == "connected").count(), 2);
}

#[tokio::test]
async fn a_refused_recipient_leaves_the_connection_for_the_next() {
    let server = Server::replying("RCPT", "550 5.1.1 <ada@example.org>: no such user");
    let provider = smtp(&format!("smtp://localhost:{}", server.start().await));
    for _ in 0..2 {
        let answer = send(&provider, "ada@example.org").await;
        assert_eq!(answer, Answer::give_up("the server answered 550 5.1.1 to RCPT TO"));
    }
    assert_eq!(server.heard().iter().filter(|line| *line == "connected").count(), 1);
}

#[tokio::test]
async fn replies_are_told_apart() {
    for (step, reply, name) in [
        ("greeting", "421 4.3.2 busy", "retry"),
        ("greeting", "554 5.3.2 no service", "misconfigured"),
        ("greeting", "close", "retry"),
        ("MAIL", "550 5.7.1 sender refused", "misconfigured"),
        ("MAIL", "451 4.7.1 later", "retry"),
        ("MAIL", "530 5.7.0 sign in", "misconfigured"),
        ("RCPT", "550 5.1.1 unknown", "give_up"),
        ("RCPT", "450 4.2.0 greylisted", "retry"),
        ("RCPT", "close", "retry"),
        ("DATA", "554 5.5.1 no", "give_up"),
        ("DATA", "421 4.0.0 closing", "retry"),
        ("content", "552 5.3.4 too big", "give_up"),
        ("content", "452 4.3.1 full", "retry"),
        ("content", "close", "unknown"),
        ("AUTH", "535 5.7.8 wrong", "misconfigured"),
        ("AUTH", "454 4.7.0 later", "retry"),
        ("AUTH", "close", "retry"),
    ] {
        let server = Server { wants_auth: true, ..Server::replying(step, reply) };
        let provider = smtp(&format!("smtp://us%3aer:p%40ss%20word@127.0.0.1:{}", server.start().await));
        let answer = send(&provider, "ada@example.org").await;
        assert_eq!(answer.name(), name, "{step} {reply}: {answer:?}");
        assert!(!answer.reason().unwrap_or_default().contains("ada"));
    }
}

#[tokio::test]
async fn nobody_there_is_worth_another_try_and_no_address_is_not() {
    assert_eq!(send(&smtp("smtp://localhost:9"), "ada@example.org").await.name(), "retry");
    assert_eq!(send(&smtp("smtp://localhost:9"), "not an address").await.name(), "give_up");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_judged_by_the_step() {
    let late = async |step| {
        let provider = smtp(&format!("smtp://localhost:{}", Server::replying(step, "silence").start().await));
        send(&provider, "ada@example.org").await.name()
    };
    let (before, after) = tokio::join!(late("RCPT"), late("content"));
    assert_eq!((before, after), ("retry", "unknown"));
}

#[tokio::test]
async fn a_plain_answer_where_tls_is_wanted_sends_nothing() {
    let server = Server::replying("", "");
    let mut settings = Settings::parse("smtp://localhost:1", "no-reply@example.org").expect("settings");
    settings.port = server.start().await;
    settings.tls = Tls::StartTls;
    let answer = send(&Smtp::open(settings.clone()).expect("provider"), "ada@example.org").await;
    assert_eq!(answer, Answer::misconfigured("the server offers no STARTTLS"));
    settings.tls = Tls::Implicit;
    assert_ne!(send(&Smtp::open(settings).expect("provider"), "ada@example.org").await, ACCEPTED);
    assert!(!server.heard().iter().any(|line| line.contains("ada")));
}

#[test]
fn addresses_are_read_and_unsafe_ones_refused() {
    let read =
        |url: &str| Settings::parse(url, "Keryu <no-reply@example.org>").map(|s| (s.tls, s.host, s.port));
    assert_eq!(read("smtps://u:p@mail.example.org"), Ok((Tls::Implicit, "mail.example.org".into(), 465)));
    assert_eq!(read("smtp://u:p@mail.example.org"), Ok((Tls::StartTls, "mail.example.org".into(), 587)));
    assert_eq!(read("smtp://mail.example.org:2525"), Ok((Tls::StartTls, "mail.example.org".into(), 2525)));
    assert_eq!(read("smtp://localhost:1025"), Ok((Tls::Plain, "localhost".into(), 1025)));
    assert_eq!(read("smtp://[::1]:1025"), Ok((Tls::Plain, "::1".into(), 1025)));
    for (url, wanted) in [
        ("ftp://x", "neither"),
        ("mail.example.org", "not a URL"),
        ("smtp://mail.example.org?tls=none", "this machine only"),
        ("smtp://user@mail.example.org", "together"),
        ("smtp://u:%ff@mail.example.org", "percent-encoded"),
        ("smtp://u:%4@mail.example.org", "percent-encoded"),
        ("smtp:///x", "SMTP_URL"),
    ] {
        let fault = read(url).expect_err(url);
        assert!(fault.starts_with("SMTP_URL") && fault.contains(wanted), "{url}: {fault}");
    }
    assert!(Settings::parse("smtp://localhost", "nobody").expect_err("fault").starts_with("MAIL_FROM"));
    let shown = format!("{:?}", Settings::parse("smtps://user:hunter2@x.org", "a@x.org").expect("settings"));
    assert!(!shown.contains("hunter2"), "{shown}");
}
