//! Settings as the shipped binaries read them: every fault at once, before anything is served.

use std::fs;
use std::process::Output;

use crate::support::Folder;
use crate::support::command::run;
use crate::support::world::SECRET;

const BOTH: [(&str, &str); 2] = [("keryu-api", "serve"), ("keryu-worker", "run")];

/// What is enough to start with in production, but for servers: none of these answers.
const ENOUGH: [(&str, &str); 4] = [
    ("DATABASE_URL", "postgres://nobody@127.0.0.1:9/none"),
    ("REDIS_URL", "redis://127.0.0.1:9"),
    ("KERYU_SECRET_KEY", SECRET),
    ("STORAGE_URL", "file:///nonexistent/keryu"),
];

fn told(output: &Output) -> String {
    assert!(output.stdout.is_empty(), "faults go to standard error");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_faulty_setting_is_named_at_once_and_nothing_starts() {
    let faulty = [
        ("KERYU_ENV", "staging"),
        ("KERYU_SECRET_KEY", "k:00"),
        ("KERYU_PUBLIC_URL", "id.example.org"),
        ("KERYU_DEFAULT_REGION", "XX"),
        ("KERYU_TRUSTED_PROXIES", "10.0.0.0/99"),
        ("KERYU_CORS_ORIGINS", "*"),
        ("KERYU_LOG", "loud=very"),
        ("PORT", "99999"),
        ("RATE_LIMIT_ANONYMOUS", "0"),
        ("OTP_DIGITS", "40"),
        ("OTP_LIFE", "soon"),
        ("SMTP_URL", "ftp://mail.example.org"),
        ("TWILIO_ACCOUNT_SID", "AC1"),
        ("SMS_HTTP_URL", "gateway"),
        ("SMS_HTTP_BODY", "{{ nobody }}"),
        ("SMS_PROVIDERS", "pigeon"),
        ("SMS_HTTP_WEBHOOK_SECRET", "a/b"),
        ("STORAGE_URL", "ftp://files"),
        ("STORAGE_PER_USER", "50 MiB"),
    ];
    let missing = ["DATABASE_URL", "REDIS_URL", "TWILIO_AUTH_TOKEN", "TWILIO_FROM", "MAIL_FROM"];
    for (binary, command) in BOTH {
        let output = run(binary, &[command], &faulty);
        let text = told(&output);
        assert_eq!(output.status.code(), Some(2), "{binary}: {text}");
        for name in
            faulty.iter().map(|(name, _)| *name).filter(|name| *name != "TWILIO_ACCOUNT_SID").chain(missing)
        {
            assert!(
                text.lines().any(|line| line.trim_start().starts_with(name)),
                "{binary}: {name} in {text}"
            );
        }
        assert!(!text.contains("panicked") && !text.contains("backtrace"), "{text}");
    }
}

#[test]
fn production_wants_secrets_and_shows_none() {
    for (binary, command) in BOTH {
        let weak = format!("weak:{}", "ab".repeat(32));
        let settings = [
            ENOUGH[0],
            ENOUGH[1],
            ("KERYU_SECRET_KEY", weak.as_str()),
            ("SMS_HTTP_WEBHOOK_SECRET", "short"),
            ("SMTP_URL", "smtps://me:hunter2@mail.example.org/x"),
        ];
        let output = run(binary, &[command], &settings);
        let text = told(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        for name in
            ["KERYU_SECRET_KEY: key 1 is one byte repeated", "SMS_HTTP_WEBHOOK_SECRET: shorter", "SMTP_URL: "]
        {
            assert!(text.contains(name), "{binary}: {name} in {text}");
        }
        assert!(!text.contains("abab") && !text.contains("hunter2"), "{text}");
        let output = run(binary, &[command], &ENOUGH[..2]);
        assert!(told(&output).contains("KERYU_SECRET_KEY is not set"));
    }
}

#[test]
fn a_broken_template_ends_the_start_and_is_named_with_its_line() {
    let folder = Folder::new("templates");
    folder.write("otp_code/en/sms.txt", "Hello\n{{ code }\n");
    folder.write("otp_code/fr/email.txt", "Bonjour\n\n{{ cod }}\n");
    folder.write("otp_code/de/sms.txt", "{{ code }}");
    let dir = folder.path();
    for (binary, command) in BOTH {
        let output = run(binary, &[command], &[&ENOUGH[..], &[("TEMPLATES_DIR", dir.as_str())]].concat());
        let text = told(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        let line = text.lines().find(|line| line.contains("otp_code/en/sms.txt")).expect("the file is named");
        assert!(line.contains("line 2"), "{line}");
        let line =
            text.lines().find(|line| line.contains("otp_code/fr/email.txt")).expect("and the next one");
        assert!(line.contains("line 3"), "{line}");
        for wanted in ["otp_code/de/email.txt", "otp_code/de/email.subject"] {
            assert!(text.contains(wanted), "{wanted} is missing: {text}");
        }
    }
}

#[test]
fn the_example_file_is_a_settings_file() {
    let path = keryu_tests::services::workspace().join("keryu.example.toml");
    let path = path.to_string_lossy().into_owned();
    let output = run("keryu-api", &["serve"], &[("KERYU_CONFIG", path.as_str())]);
    let text = told(&output);
    assert_eq!(output.status.code(), Some(2));
    let faults: Vec<&str> = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty()).collect();
    let missing = faults.iter().all(|line| line.contains("is not set"));
    assert!(missing && faults.len() == 4, "only what has no default is missing: {text}");
}

#[test]
fn the_environment_wins_over_the_file_and_a_faulty_file_is_named() {
    let folder = Folder::new("files");
    let path = folder.write("keryu.toml", "OTP_DIGITS = 40\nOTP_LIFE = \"1s\"\nPORT = 70000\n");
    let settings =
        [&ENOUGH[..], &[("KERYU_CONFIG", path.as_str()), ("OTP_DIGITS", "6"), ("PORT", "8080")]].concat();
    let text = told(&run("keryu-api", &["serve"], &settings));
    assert!(text.contains("OTP_LIFE") && !text.contains("OTP_DIGITS") && !text.contains("PORT"), "{text}");
    let broken = folder.write("broken.toml", "OTP_DIGITS = \n");
    for path in [broken.as_str(), "/nonexistent/keryu.toml"] {
        let output = run("keryu-worker", &["run"], &[&ENOUGH[..], &[("KERYU_CONFIG", path)]].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(told(&output).contains("KERYU_CONFIG: "), "{path}");
    }
}

#[test]
fn all_lines_of_the_example_hold_when_they_are_switched_on() {
    let text = fs::read_to_string(keryu_tests::services::workspace().join("keryu.example.toml"))
        .expect("the example");
    let setting = |line: &&str| {
        let name = line.trim_start_matches('#').split([' ', '=']).next().unwrap_or_default();
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    let lines: Vec<&str> = text.lines().filter(setting).map(|line| line.trim_start_matches('#')).collect();
    assert!(lines.len() > 40, "{} settings", lines.len());
    let folder = Folder::new("example");
    let path = folder.write("all.toml", &lines.join("\n"));
    let output = run("keryu-api", &["serve"], &[("KERYU_CONFIG", path.as_str())]);
    let told = told(&output);
    let faults: Vec<&str> = told.lines().skip(1).map(str::trim).filter(|line| !line.is_empty()).collect();
    assert!(faults.iter().all(|line| line.contains("is not set")) && faults.len() == 4, "{told}");
}
