//! The wire of passkeys. `options` and `credential` are WebAuthn's own JSON (Level 3, sections 5.1.8 to
//! 5.1.10), which browsers read and write: its names, and room for members that are not read here. So
//! their types end in `Json`: those that end in `In` are closed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use keryu_common::config::Config;
use keryu_common::factor::passkey::{
    ALGORITHMS, Answer, Asked, Assertion, Finish, LIFE, Listed, Login, Options, Registration,
};
use poem_openapi::Object;
use poem_openapi::types::Example;
use uuid::Uuid;

use crate::edge::body::Input;
use crate::edge::field::BytesIn;

const CHALLENGE_ID: Uuid = Uuid::from_u128(0x5f0c_8d6e_2b1a_4c7d_9e3f_a1b2_c3d4_e5f6);
const PASSKEY_ID: Uuid = Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6181);

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn sample(bytes: &str) -> BytesIn {
    BytesIn(text(bytes.as_bytes()))
}

/// A passkey.
#[derive(Debug, Object)]
#[oai(example)]
pub struct PasskeyOut {
    /// Names it.
    id: Uuid,
    /// What its owner calls it.
    name: String,
    /// Whether it is on other devices too.
    backed_up: bool,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was used last.
    last_used_at: Option<DateTime<Utc>>,
}

impl From<Listed> for PasskeyOut {
    fn from(listed: Listed) -> Self {
        Self {
            id: listed.passkey_id,
            name: listed.name,
            backed_up: listed.backed_up,
            created_at: listed.created_at,
            last_used_at: listed.last_used_at,
        }
    }
}

impl Example for PasskeyOut {
    fn example() -> Self {
        Self {
            id: PASSKEY_ID,
            name: "My phone".to_owned(),
            backed_up: true,
            created_at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
            last_used_at: None,
        }
    }
}

/// Somebody's passkeys.
#[derive(Debug, Object)]
#[oai(example)]
pub struct PasskeysOut {
    /// Oldest first.
    pub items: Vec<PasskeyOut>,
}

impl Example for PasskeysOut {
    fn example() -> Self {
        Self { items: vec![PasskeyOut::example()] }
    }
}

/// A passkey made.
#[derive(Debug, Object)]
#[oai(example)]
pub struct PasskeyMadeOut {
    /// It.
    pub passkey: PasskeyOut,
    /// Shown this once, where there were none: each stands in for a lost factor, once.
    pub recovery_codes: Option<Vec<String>>,
}

impl Example for PasskeyMadeOut {
    fn example() -> Self {
        let recovery_codes = Some(vec!["0K7QP-9XW2M-4TDHR".to_owned(), "1B3VZ-0CN8E-6YGAS".to_owned()]);
        Self { passkey: PasskeyOut::example(), recovery_codes }
    }
}

/// A relying party.
#[derive(Debug, Object)]
pub struct PartyOut {
    /// A domain.
    id: String,
    /// What the site is called.
    name: String,
}

/// A person as a browser shows them.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct OwnerOut {
    /// The user handle, base64url.
    id: String,
    /// The username.
    name: String,
    /// The same.
    display_name: String,
}

/// A kind of credential.
#[derive(Debug, Object)]
pub struct AlgorithmOut {
    /// `public-key`.
    r#type: String,
    /// A COSE algorithm.
    alg: i32,
}

/// A credential that is known.
#[derive(Debug, Object)]
pub struct DescriptorOut {
    /// `public-key`.
    r#type: String,
    /// Its id, base64url.
    id: String,
    /// How its authenticator can be reached.
    transports: Vec<String>,
}

impl DescriptorOut {
    fn of((id, transports): (Vec<u8>, Vec<String>)) -> Self {
        Self { r#type: "public-key".to_owned(), id: text(&id), transports }
    }
}

/// What the authenticator must be able to do.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct SelectionOut {
    /// `required`: found without a username.
    resident_key: String,
    /// The same, for older browsers.
    require_resident_key: bool,
    /// `required`: it checks who touches it.
    user_verification: String,
}

/// `PublicKeyCredentialCreationOptionsJSON`.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct CreationOptionsOut {
    /// For whom.
    rp: PartyOut,
    /// Whose.
    user: OwnerOut,
    /// Base64url.
    challenge: String,
    /// Kinds of keys, the best first.
    pub_key_cred_params: Vec<AlgorithmOut>,
    /// Milliseconds.
    timeout: u64,
    /// Those the person has.
    exclude_credentials: Vec<DescriptorOut>,
    /// What it must be able to do.
    authenticator_selection: SelectionOut,
    /// `none`.
    attestation: String,
}

/// What a browser needs to make a passkey.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RegisterStartOut {
    /// Hand it in with the answer.
    challenge_id: Uuid,
    /// For `parseCreationOptionsFromJSON`.
    options: CreationOptionsOut,
}

impl From<Options> for RegisterStartOut {
    fn from(made: Options) -> Self {
        let algorithm = |alg| AlgorithmOut { r#type: "public-key".to_owned(), alg };
        let required = || "required".to_owned();
        let options = CreationOptionsOut {
            rp: PartyOut { id: made.rp_id, name: made.rp_name },
            user: OwnerOut {
                id: text(made.user_id.as_bytes()),
                name: made.user_name.clone(),
                display_name: made.user_name,
            },
            challenge: text(&made.challenge),
            pub_key_cred_params: ALGORITHMS.into_iter().map(algorithm).collect(),
            timeout: LIFE.as_secs() * 1000,
            exclude_credentials: made.exclude.into_iter().map(DescriptorOut::of).collect(),
            authenticator_selection: SelectionOut {
                resident_key: required(),
                require_resident_key: true,
                user_verification: required(),
            },
            attestation: "none".to_owned(),
        };
        Self { challenge_id: made.challenge_id, options }
    }
}

impl Example for RegisterStartOut {
    fn example() -> Self {
        let made = Options {
            challenge_id: CHALLENGE_ID,
            challenge: *b"an example of 32 random bytes...",
            rp_id: "id.example.org".to_owned(),
            rp_name: "Keryu".to_owned(),
            user_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172),
            user_name: "ada.lovelace".to_owned(),
            exclude: Vec::new(),
        };
        made.into()
    }
}

/// `RegistrationResponseJSON`, the members that are read.
#[derive(Debug, Object)]
pub struct RegistrationResponseJson {
    /// The credential id.
    id: BytesIn,
    /// What the authenticator said.
    response: AttestationResponseJson,
}

/// `AuthenticatorAttestationResponseJSON`, the members that are read.
#[derive(Debug, Object)]
pub struct AttestationResponseJson {
    /// Base64url.
    #[oai(rename = "clientDataJSON")]
    client_data: BytesIn,
    /// Base64url.
    #[oai(rename = "attestationObject")]
    attestation: BytesIn,
    /// How the authenticator can be reached.
    #[oai(validator(max_items = 8))]
    transports: Option<Vec<String>>,
}

/// A passkey made, to be kept.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RegisterFinishIn {
    /// From `register/start`.
    challenge_id: Uuid,
    /// What its owner calls it.
    #[oai(validator(min_length = 1, max_length = 64, pattern = r"^[^\x00-\x1f\x7f]+$"))]
    name: String,
    /// The browser's `toJSON()`.
    credential: RegistrationResponseJson,
}

impl Example for RegisterFinishIn {
    fn example() -> Self {
        Self {
            challenge_id: CHALLENGE_ID,
            name: "My phone".to_owned(),
            credential: RegistrationResponseJson {
                id: sample("credential"),
                response: AttestationResponseJson {
                    client_data: sample("{\"type\":\"webauthn.create\"}"),
                    attestation: sample("CBOR"),
                    transports: Some(vec!["internal".to_owned(), "hybrid".to_owned()]),
                },
            },
        }
    }
}

/// Transports that WebAuthn has a name for; others are left out.
const TRANSPORTS: [&str; 6] = ["ble", "hybrid", "internal", "nfc", "smart-card", "usb"];

impl Input for RegisterFinishIn {
    type Ask = Finish;
    fn ask(self, _: &Config) -> Option<Finish> {
        let RegistrationResponseJson { id, response } = self.credential;
        let transports = response.transports.unwrap_or_default();
        Some(Finish {
            challenge_id: self.challenge_id,
            answer: Registration {
                credential_id: id.parse()?,
                client_data: response.client_data.parse()?,
                attestation: response.attestation.parse()?,
            },
            transports: transports.into_iter().filter(|name| TRANSPORTS.contains(&name.as_str())).collect(),
            name: self.name,
        })
    }
}

/// A request for an answer by a passkey.
#[derive(Debug, Object)]
#[oai(example)]
pub struct LoginStartIn {
    /// From `mfa.required`, where a sign-in waits.
    #[oai(validator(min_length = 1, max_length = 128))]
    mfa_token: Option<String>,
}

impl Example for LoginStartIn {
    fn example() -> Self {
        Self { mfa_token: None }
    }
}

impl Input for LoginStartIn {
    type Ask = Option<String>;
    fn ask(self, _: &Config) -> Option<Option<String>> {
        Some(self.mfa_token)
    }
}

/// `PublicKeyCredentialRequestOptionsJSON`.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct RequestOptionsOut {
    /// Base64url.
    challenge: String,
    /// Milliseconds.
    timeout: u64,
    /// A domain.
    rp_id: String,
    /// Those that will do; none: whichever the person has.
    allow_credentials: Vec<DescriptorOut>,
    /// `required`.
    user_verification: String,
}

/// What a browser needs to answer.
#[derive(Debug, Object)]
#[oai(example)]
pub struct LoginStartOut {
    /// Hand it in with the answer.
    challenge_id: Uuid,
    /// For `parseRequestOptionsFromJSON`.
    options: RequestOptionsOut,
}

impl From<Asked> for LoginStartOut {
    fn from(asked: Asked) -> Self {
        let options = RequestOptionsOut {
            challenge: text(&asked.challenge),
            timeout: LIFE.as_secs() * 1000,
            rp_id: asked.rp_id,
            allow_credentials: asked.allow.into_iter().map(DescriptorOut::of).collect(),
            user_verification: "required".to_owned(),
        };
        Self { challenge_id: asked.challenge_id, options }
    }
}

impl Example for LoginStartOut {
    fn example() -> Self {
        let asked = Asked {
            challenge_id: CHALLENGE_ID,
            challenge: *b"an example of 32 random bytes...",
            rp_id: "id.example.org".to_owned(),
            allow: Vec::new(),
        };
        asked.into()
    }
}

/// `AuthenticationResponseJSON`, the members that are read.
#[derive(Debug, Object)]
pub struct AuthenticationResponseJson {
    /// The credential id.
    id: BytesIn,
    /// What the authenticator said.
    response: AssertionResponseJson,
}

/// `AuthenticatorAssertionResponseJSON`, the members that are read.
#[derive(Debug, Object)]
pub struct AssertionResponseJson {
    /// Base64url.
    #[oai(rename = "clientDataJSON")]
    client_data: BytesIn,
    /// Base64url.
    #[oai(rename = "authenticatorData")]
    authenticator_data: BytesIn,
    /// Base64url.
    signature: BytesIn,
    /// Base64url: whose it is.
    #[oai(rename = "userHandle")]
    user_handle: Option<BytesIn>,
}

impl AuthenticationResponseJson {
    fn parse(self) -> Option<Assertion> {
        let Self { id, response } = self;
        let user_handle = match response.user_handle {
            Some(handle) => Some(handle.parse()?),
            None => None,
        };
        Some(Assertion {
            credential_id: id.parse()?,
            client_data: response.client_data.parse()?,
            authenticator_data: response.authenticator_data.parse()?,
            signature: response.signature.parse()?,
            user_handle,
        })
    }

    fn example() -> Self {
        Self {
            id: sample("credential"),
            response: AssertionResponseJson {
                client_data: sample("{\"type\":\"webauthn.get\"}"),
                authenticator_data: sample("authenticator data"),
                signature: sample("signature"),
                user_handle: Some(sample("user handle")),
            },
        }
    }
}

/// An answer by a passkey.
#[derive(Debug, Object)]
pub struct AnswerIn {
    /// From `login/start`.
    challenge_id: Uuid,
    /// The browser's `toJSON()`.
    credential: AuthenticationResponseJson,
}

impl AnswerIn {
    /// The answer; None: a field is not of its format.
    pub fn parse(self) -> Option<Answer> {
        Some(Answer { challenge_id: self.challenge_id, assertion: self.credential.parse()? })
    }
}

/// A sign-in with a passkey.
#[derive(Debug, Object)]
#[oai(example)]
pub struct LoginFinishIn {
    /// From `login/start`.
    challenge_id: Uuid,
    /// The browser's `toJSON()`.
    credential: AuthenticationResponseJson,
    /// From `mfa.required`, where a sign-in waits.
    #[oai(validator(min_length = 1, max_length = 128))]
    mfa_token: Option<String>,
    /// From an earlier sign-in in this browser or app.
    #[oai(validator(min_length = 1, max_length = 128))]
    device_token: Option<String>,
}

impl Example for LoginFinishIn {
    fn example() -> Self {
        Self {
            challenge_id: CHALLENGE_ID,
            credential: AuthenticationResponseJson::example(),
            mfa_token: None,
            device_token: None,
        }
    }
}

impl Input for LoginFinishIn {
    type Ask = Login;
    fn ask(self, _: &Config) -> Option<Login> {
        let answer = Answer { challenge_id: self.challenge_id, assertion: self.credential.parse()? };
        Some(Login { answer, mfa_token: self.mfa_token, device_token: self.device_token })
    }
}

/// A name for a passkey.
#[derive(Debug, Object)]
#[oai(example)]
pub struct PasskeyNameIn {
    /// What its owner calls it.
    #[oai(validator(min_length = 1, max_length = 64, pattern = r"^[^\x00-\x1f\x7f]+$"))]
    name: String,
}

impl Example for PasskeyNameIn {
    fn example() -> Self {
        Self { name: "My phone".to_owned() }
    }
}

impl Input for PasskeyNameIn {
    type Ask = String;
    fn ask(self, _: &Config) -> Option<String> {
        Some(self.name)
    }
}
