use std::fs;

use super::*;

fn facts() -> Facts<'static> {
    let told = notice::Facts::none();
    Facts { name: "Keryu", code: "123456", minutes: 5, purpose: "login", support: None, link: "", told }
}

#[test]
fn what_is_built_in_holds_and_stays_one_text_message() {
    // GSM 03.38: what else goes into a text message halves its room and more
    const GSM: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà";
    let templates = Templates::load(None).expect("templates");
    for message in Message::ALL {
        assert_eq!(templates.languages(message).collect::<Vec<_>>(), ["en", "fr"]);
        for language in ["en", "fr"] {
            for facts in samples() {
                let text = templates.sms(message, language, &facts).expect("text");
                let fits = |c: char| c.is_ascii_alphanumeric() || GSM.contains(c);
                assert!(
                    text.trim().chars().all(fits) && !text.trim().contains('\n'),
                    "{language} {message:?}: {text}"
                );
                assert!(text.chars().count() <= 160, "{text}");
                let mail = templates.mail(message, language, &facts).expect("mail");
                assert!(mail.html.contains(&format!("lang=\"{language}\"")));
                let addresses =
                    usize::from(facts.support.is_some()) + usize::from(message == Message::VerifyEmailLink);
                assert_eq!(mail.text.matches("https://").count(), addresses, "{}", mail.text);
                if message == Message::OtpCode {
                    for text in [&text, &mail.text, &mail.html, &mail.subject] {
                        assert!(text.contains("12345678"), "{text}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_code_comes_first_and_the_time_is_told() {
    let templates = Templates::load(None).expect("templates");
    let text = |facts| templates.sms(Message::OtpCode, "en", &facts).expect("text");
    assert!(text(facts()).starts_with("123456 is your Keryu code. It works for 5 minutes."));
    assert!(text(Facts { minutes: 1, ..facts() }).contains("1 minute."));
    assert!(text(Facts { purpose: "reset_password", ..facts() }).contains("for a new password"));
}

#[test]
fn html_is_escaped_and_the_rest_is_not() {
    let templates = Templates::load(None).expect("templates");
    let mail = templates.mail(Message::OtpCode, "en", &Facts { name: "<b>&", ..facts() }).expect("mail");
    assert!(mail.html.contains("&lt;b&gt;&amp;") && !mail.html.contains("<b>&"));
    assert!(mail.text.contains("<b>&"));
    assert!(mail.subject.ends_with("<b>& code"));
}

#[test]
fn the_nearest_language_is_taken() {
    let templates = Templates::load(None).expect("templates");
    for (wanted, given) in
        [("fr", "fr"), ("fr-CA", "fr"), ("en", "en"), ("sw", "en"), ("", "en"), ("../x", "en")]
    {
        assert_eq!(templates.language(Message::OtpCode, wanted), given, "{wanted}");
    }
}

/// A folder that is gone when the test ends.
struct Folder(std::path::PathBuf);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let name = crate::secret::hex(&crate::secret::random::<8>());
        let folder = Self(std::env::temp_dir().join(format!("keryu-templates-{name}")));
        for (path, text) in files {
            let path = folder.0.join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            fs::write(path, text).expect("file");
        }
        folder
    }

    fn load(&self) -> Result<Templates, Vec<String>> {
        Templates::load(Some(&self.0))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_folder_stands_in_for_a_text_and_adds_a_language() {
    let swahili: Vec<(String, &str)> = parts(Message::OtpCode)
        .iter()
        .map(|part| (format!("otp_code/sw/{part}"), "{{ code }} ni nambari yako"))
        .collect();
    let mut files: Vec<(&str, &str)> = swahili.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    files.push(("otp_code/en/sms.txt", "Code {{ code }}"));
    let folder = Folder::with(&files);
    let templates = folder.load().expect("templates");
    assert_eq!(templates.sms(Message::OtpCode, "en", &facts()).expect("text"), "Code 123456");
    assert_eq!(templates.sms(Message::OtpCode, "sw-KE", &facts()).expect("text"), "123456 ni nambari yako");
    assert!(templates.mail(Message::OtpCode, "en", &facts()).expect("mail").text.contains("123456"));
    assert_eq!(templates.language(Message::AccountExists, "sw"), "en");
}

#[test]
fn a_push_message_is_cut_to_what_devices_show() {
    let templates = Templates::load(None).expect("templates");
    let said = notice::Facts::said("Holidays", &"é".repeat(1000));
    let push = templates.push(Message::StaffMessage, "en", &Facts { told: &said, ..facts() }).expect("push");
    assert_eq!(push.title, "Holidays");
    assert_eq!((push.text.chars().count(), push.text.ends_with('…')), (240, true));
    for message in Message::ALL.into_iter().filter(|message| message.is_notice()) {
        for (language, facts) in
            ["en", "fr"].into_iter().flat_map(|l| samples().into_iter().map(move |f| (l, f)))
        {
            let push = templates.push(message, language, &facts).expect("push");
            assert!(!push.title.ends_with('…') && !push.text.ends_with('…'), "{message:?}: {push:?}");
            assert!(
                !push.text.contains("https://") && !push.text.contains("12345678"),
                "{message:?}: {push:?}"
            );
        }
    }
}

#[test]
fn a_broken_folder_is_told_with_file_and_line() {
    let long = "{{ code }} ".repeat(30);
    for (path, text, wanted) in [
        ("otp_code/en/sms.txt", "{{ code }}\n{% if %}", "otp_code/en/sms.txt: line 2"),
        ("otp_code/en/sms.txt", "{{ kode }}", "otp_code/en/sms.txt: line 1"),
        (
            "otp_code/en/sms.txt",
            "{% if purpose == 'step_up' %}{{ x }}{% endif %}a",
            "otp_code/en/sms.txt: line 1",
        ),
        ("otp_code/en/sms.txt", long.as_str(), "160 is the most"),
        ("otp_code/en/email.txt", "\n", "is empty"),
        ("otp_code/en/email.subject", "a\nb", "one line"),
        ("otp_code/sw/sms.txt", "{{ code }}", "otp_code/sw/email.txt is missing"),
        ("otp_codes/en/sms.txt", "x", "no message"),
        ("otp_code/en/push.txt", "x", "no message"),
        ("welcome/en/push.title", "a\nb", "one line"),
        ("welcome/sw/push.txt", "x", "welcome/sw/push.title is missing"),
        ("welcome/en/push.txt", "x".repeat(241).leak(), "240 is the most"),
        ("otp_code/en/sms.html", "x", "no message"),
    ] {
        let faults = Folder::with(&[(path, text)]).load().expect_err(path).join("\n");
        assert!(faults.contains(wanted), "{path}: {faults}");
    }
    let nowhere = Templates::load(Some(Path::new("/nowhere/at/all"))).expect_err("fault");
    assert!(nowhere[0].starts_with("TEMPLATES_DIR: /nowhere/at/all"));
}
