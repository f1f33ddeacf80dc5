//! A mail server on loopback that speaks ESMTP by the letter: commands in their order or 503, addresses
//! in brackets, content that ends with a dot. Keeps the mail; answers steps as told.

use std::sync::{Arc, Mutex};

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A mail it took.
#[derive(Clone, Debug)]
pub struct Letter {
    /// `MAIL FROM`.
    pub from: String,
    /// `RCPT TO`.
    pub to: String,
    /// Header and body, unstuffed, lines ended by `\n`.
    pub content: String,
}

impl Letter {
    /// The content, its quoted-printable lines joined again.
    pub fn joined(&self) -> String {
        self.content.replace("=\n", "")
    }

    /// A header field as it was sent, folded lines joined.
    pub fn header(&self, name: &str) -> String {
        let head =
            self.content.split("\n\n").next().unwrap_or_default().replace("\n ", " ").replace("\n\t", " ");
        let wanted = format!("{}:", name.to_ascii_lowercase());
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&wanted));
        line.map(|line| line[wanted.len()..].trim().to_owned()).unwrap_or_default()
    }
}

#[derive(Default)]
struct Tape {
    letters: Vec<Letter>,
    /// Every command heard, content left out.
    heard: Vec<String>,
    /// In place of the usual answer to a command, by its first word (`DATA`: `.` after the content).
    replies: Vec<(&'static str, &'static str)>,
}

/// The mail server.
#[derive(Clone)]
pub struct MailServer {
    /// `localhost:port`.
    pub address: String,
    tape: Arc<Mutex<Tape>>,
}

impl MailServer {
    /// Starts it, without TLS.
    pub async fn start() -> Self {
        Self::serve(None).await
    }

    /// Starts it with TLS from the first byte, under a certificate nobody has reason to trust.
    pub async fn with_a_certificate_of_its_own() -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = CertificateDer::from(include_bytes!("self_signed.der").to_vec());
        // of no use to anybody: the certificate is trusted nowhere
        let key = PrivatePkcs8KeyDer::from(include_bytes!("self_signed.key.der").to_vec());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.into())
            .expect("certificate");
        Self::serve(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = format!("localhost:{}", listener.local_addr().expect("address").port());
        let tape: Arc<Mutex<Tape>> = Arc::default();
        let kept = Arc::clone(&tape);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tape, tls) = (Arc::clone(&kept), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, &tape).await,
                        Some(tls) => converse(tls.accept(stream).await.ok()?, &tape).await,
                    }
                });
            }
        });
        Self { address, tape }
    }

    /// Answers a command so from now on; an empty reply closes the connection.
    pub fn reply(&self, command: &'static str, reply: &'static str) {
        self.tape.lock().expect("tape").replies.push((command, reply));
    }

    /// Answers as usual again.
    pub fn recover(&self) {
        self.tape.lock().expect("tape").replies.clear();
    }

    /// The mail it took.
    pub fn letters(&self) -> Vec<Letter> {
        self.tape.lock().expect("tape").letters.clone()
    }

    /// What it heard besides content.
    pub fn heard(&self) -> Vec<String> {
        self.tape.lock().expect("tape").heard.clone()
    }
}

/// `<address>` of `MAIL FROM:<address> …`.
fn bracketed(line: &str, prefix: &str) -> Option<String> {
    let rest = line.strip_prefix(prefix)?.strip_prefix('<')?;
    rest.split_once('>').map(|(address, _)| address.to_owned())
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, tape: &Mutex<Tape>) -> Option<()> {
    let (read, mut write) = tokio::io::split(stream);
    let mut lines = BufReader::new(read).lines();
    let (mut greeted, mut from, mut to) = (false, None, None);
    write.write_all(b"220 localhost ESMTP\r\n").await.ok()?;
    while let Some(line) = lines.next_line().await.ok()? {
        let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let told = {
            let mut tape = tape.lock().expect("tape");
            tape.heard.push(line.clone());
            tape.replies.iter().rev().find(|(command, _)| *command == word).map(|(_, reply)| *reply)
        };
        let usual = match word.as_str() {
            "EHLO" => {
                greeted = true;
                "250-localhost\r\n250 8BITMIME"
            }
            "MAIL" if greeted && from.is_none() => match bracketed(&line, "MAIL FROM:") {
                Some(address) => {
                    from = Some(address);
                    "250 2.1.0 ok"
                }
                None => "501 5.1.7 not an address",
            },
            "RCPT" if from.is_some() => match bracketed(&line, "RCPT TO:") {
                Some(address) => {
                    to = Some(address);
                    "250 2.1.5 ok"
                }
                None => "501 5.1.3 not an address",
            },
            "DATA" if to.is_some() => "354 go on",
            "RSET" => {
                (from, to) = (None, None);
                "250 2.0.0 ok"
            }
            "NOOP" => "250 2.0.0 ok",
            "QUIT" => "221 2.0.0 bye",
            _ => "503 5.5.1 bad sequence of commands",
        };
        let reply = told.unwrap_or(usual);
        if reply.is_empty() {
            return None;
        }
        write.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
        if reply.starts_with("354") {
            let content = content(&mut lines).await?;
            let letter = Letter { from: from.take()?, to: to.take()?, content };
            tape.lock().expect("tape").letters.push(letter);
            write.write_all(b"250 2.0.0 queued\r\n").await.ok()?;
        }
    }
    None
}

async fn content<R: AsyncRead + Unpin>(lines: &mut tokio::io::Lines<BufReader<R>>) -> Option<String> {
    let mut content = String::new();
    loop {
        let line = lines.next_line().await.ok()??;
        if line == "." {
            return Some(content);
        }
        content.push_str(line.strip_prefix('.').unwrap_or(&line));
        content.push('\n');
    }
}
