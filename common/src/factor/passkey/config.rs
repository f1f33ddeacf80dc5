//! For which site passkeys are.

use url::{Host, Url};

use super::ceremony::Party;
use crate::config::Source;

/// Settings of passkeys.
#[derive(Clone, Debug)]
pub struct Config {
    /// `PASSKEY_RP_ID`: the domain that passkeys are for (WebAuthn Level 3, section 5.1.2); without it the
    /// host of the public URL. With another one, passkeys made before are of no use.
    pub rp_id: String,
    /// `PASSKEY_ORIGINS`: where answers may be made; without it the origin of the public URL.
    pub origins: Vec<String>,
}

impl Config {
    pub(super) fn party(&self) -> Party<'_> {
        Party { rp_id: &self.rp_id, origins: &self.origins }
    }

    pub(in crate::factor) fn read(source: &mut Source, public_url: &str) -> Self {
        let public = Url::parse(public_url).ok();
        let rp_id: Option<String> = source.find("PASSKEY_RP_ID");
        let given: Option<String> = source.find("PASSKEY_ORIGINS");
        let host = public.as_ref().and_then(Url::host_str).unwrap_or_default();
        let config = Self {
            rp_id: rp_id.clone().unwrap_or_else(|| host.to_owned()),
            origins: match &given {
                Some(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
                None => public.iter().map(|url| url.origin().ascii_serialization()).collect(),
            },
        };
        if let Some(rp_id) = &rp_id
            && !matches!(Host::parse(rp_id), Ok(Host::Domain(domain)) if domain == *rp_id)
        {
            source.fault(format!("PASSKEY_RP_ID: {rp_id} is not a domain"));
        }
        for origin in &config.origins {
            if let Err(fault) = fits(origin, &config.rp_id) {
                let name = if given.is_some() { "PASSKEY_ORIGINS" } else { "PASSKEY_RP_ID" };
                source.fault(format!("{name}: {origin} {fault}"));
            }
        }
        config
    }
}

/// Whether answers made there may be for this relying party. Apps have origins of their own kind.
fn fits(origin: &str, rp_id: &str) -> Result<(), String> {
    if let Some(hash) = origin.strip_prefix("android:apk-key-hash:") {
        return if hash.is_empty() { Err("names no key".to_owned()) } else { Ok(()) };
    }
    let url = Url::parse(origin).map_err(|_| "is not an origin".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || url.origin().ascii_serialization() != origin {
        return Err("is not an origin such as https://id.example.org".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    if host == rp_id || host.strip_suffix(rp_id).is_some_and(|head| head.ends_with('.')) {
        return Ok(());
    }
    Err(format!("is not within {rp_id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config as All;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let enough = [
            ("DATABASE_URL", "postgres:///x"),
            ("REDIS_URL", "redis://x"),
            ("KERYU_ENV", "development"),
            ("KERYU_PUBLIC_URL", "https://id.example.org/keryu/"),
        ];
        let all = All::read(&mut Source::of(enough.iter().chain(pairs).copied()));
        all.map(|all| all.factor.passkey).map_err(|faults| faults.0.join("; "))
    }

    #[test]
    fn without_settings_passkeys_are_for_the_public_host() {
        let config = read(&[]).expect("settings");
        assert_eq!(config.rp_id, "id.example.org");
        assert_eq!(config.origins, ["https://id.example.org"]);
    }

    #[test]
    fn several_sites_may_share_a_domain() {
        let origins =
            "https://id.example.org, https://app.example.org:8443,https://example.org,android:apk-key-hash:x";
        let config =
            read(&[("PASSKEY_RP_ID", "example.org"), ("PASSKEY_ORIGINS", origins)]).expect("settings");
        assert_eq!(config.origins.len(), 4);
    }

    #[test]
    fn origins_that_no_browser_would_let_answer_are_faults() {
        for (name, value) in [
            ("PASSKEY_RP_ID", "https://example.org"),
            ("PASSKEY_RP_ID", "192.0.2.1"),
            ("PASSKEY_RP_ID", "other.example"),
            ("PASSKEY_ORIGINS", "https://badexample.org"),
            ("PASSKEY_ORIGINS", "https://id.example.org/"),
            ("PASSKEY_ORIGINS", "id.example.org"),
            ("PASSKEY_ORIGINS", "ftp://id.example.org"),
            ("PASSKEY_ORIGINS", "android:apk-key-hash:"),
            ("PASSKEY_ORIGINS", "https://id.example.org,"),
        ] {
            let faults = read(&[(name, value)]).expect_err(value);
            assert!(faults.starts_with(name), "{faults}");
        }
    }
}
