//! What browsers and authenticators hand in (WebAuthn Level 3, sections 5.8.1, 6.1 and 6.5), read from
//! bytes that anyone may have made: nothing is believed, no length is guessed, nothing panics.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;
use serde::Deserialize;

use super::cose::PublicKey;
use crate::secret;

/// Bytes of a credential id (WebAuthn Level 3, section 7.1: refuse those longer).
const CREDENTIAL_ID: std::ops::RangeInclusive<usize> = 1..=1023;
/// How deep CBOR may nest.
const DEPTH: usize = 8;

/// What is wrong with an answer: told to the caller, and in the audit line by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The client data is not JSON of the form wanted.
    ClientData,
    /// Made for the other ceremony.
    Type,
    /// Not an answer to this challenge.
    Challenge,
    /// Made by another site.
    Origin,
    /// Made inside a frame of another site.
    CrossOrigin,
    /// The authenticator's data is malformed, or too long, or too short.
    AuthenticatorData,
    /// The attestation object is malformed.
    Attestation,
    /// For another relying party.
    RelyingParty,
    /// Nobody touched it.
    UserPresence,
    /// It did not check who touched it.
    UserVerification,
    /// Its backup flags contradict each other or what was registered.
    Backup,
    /// The public key is none we asked for.
    PublicKey,
    /// The id handed in is not the credential's.
    CredentialId,
    /// The credential is another person's.
    UserHandle,
    /// Not signed by the credential's key.
    Signature,
    /// The counter went back: there may be two copies.
    Counter,
    /// Nobody registered this credential.
    Unknown,
}

impl Wrong {
    /// The name in audit lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientData => "client_data",
            Self::Type => "type",
            Self::Challenge => "challenge",
            Self::Origin => "origin",
            Self::CrossOrigin => "cross_origin",
            Self::AuthenticatorData => "authenticator_data",
            Self::Attestation => "attestation",
            Self::RelyingParty => "relying_party",
            Self::UserPresence => "user_presence",
            Self::UserVerification => "user_verification",
            Self::Backup => "backup",
            Self::PublicKey => "public_key",
            Self::CredentialId => "credential_id",
            Self::UserHandle => "user_handle",
            Self::Signature => "signature",
            Self::Counter => "counter",
            Self::Unknown => "unknown",
        }
    }

    /// What a developer is told. Whether a credential is known is not.
    pub fn detail(self) -> &'static str {
        match self {
            Self::ClientData => "clientDataJSON is not of the form wanted.",
            Self::Type => "The answer was made for another ceremony.",
            Self::Challenge => "The answer is not to this challenge.",
            Self::Origin => "The answer was made by another origin.",
            Self::CrossOrigin => "The answer was made inside a frame of another origin.",
            Self::AuthenticatorData => "authenticatorData is not of the form wanted.",
            Self::Attestation => "attestationObject is not of the form wanted.",
            Self::RelyingParty => "The answer is for another relying party.",
            Self::UserPresence => "The authenticator saw nobody.",
            Self::UserVerification => "The authenticator did not verify the user.",
            Self::Backup => "The backup flags contradict each other or the registration.",
            Self::PublicKey => "The public key is of no kind that was asked for.",
            Self::CredentialId => "The id is not the credential's.",
            Self::UserHandle | Self::Signature | Self::Counter | Self::Unknown => {
                "The passkey is not accepted."
            }
        }
    }
}

/// A ceremony, as `type` of the client data names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ceremony {
    /// `navigator.credentials.create`.
    Create,
    /// `navigator.credentials.get`.
    Get,
}

impl Ceremony {
    /// The value of `type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "webauthn.create",
            Self::Get => "webauthn.get",
        }
    }
}

/// Members of the client data that are checked; others may come.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    r#type: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
    top_origin: Option<String>,
}

/// Checks `clientDataJSON` (section 7.1, steps 7 to 12; section 7.2, steps 10 to 14).
///
/// # Errors
/// The first that is wrong.
pub fn check_client(
    raw: &[u8],
    ceremony: Ceremony,
    challenge: &[u8],
    origins: &[String],
) -> Result<(), Wrong> {
    let data: ClientData = serde_json::from_slice(raw).map_err(|_| Wrong::ClientData)?;
    if data.r#type != ceremony.name() {
        return Err(Wrong::Type);
    }
    let answered = URL_SAFE_NO_PAD.decode(&data.challenge).map_err(|_| Wrong::Challenge)?;
    if !secret::equal(&answered, challenge) {
        return Err(Wrong::Challenge);
    }
    if !origins.contains(&data.origin) {
        return Err(Wrong::Origin);
    }
    if data.cross_origin || data.top_origin.is_some() {
        return Err(Wrong::CrossOrigin);
    }
    Ok(())
}

/// Authenticator data (section 6.1).
#[derive(Debug)]
pub struct AuthenticatorData {
    rp_id_hash: [u8; 32],
    flags: u8,
    /// How often it signed; 0 where it does not count.
    pub sign_count: u32,
    /// At registration: the new credential.
    pub attested: Option<Attested>,
}

/// A new credential (section 6.5.1).
#[derive(Debug)]
pub struct Attested {
    /// Chosen by the authenticator.
    pub credential_id: Vec<u8>,
    /// COSE, in the bytes they came in.
    pub public_key: Vec<u8>,
}

/// Flags (section 6.1).
const UP: u8 = 1;
const UV: u8 = 1 << 2;
const BE: u8 = 1 << 3;
const BS: u8 = 1 << 4;
const AT: u8 = 1 << 6;
const ED: u8 = 1 << 7;

impl AuthenticatorData {
    /// Reads it whole: nothing is missing and nothing left over.
    ///
    /// # Errors
    /// `AuthenticatorData`, `PublicKey`.
    pub fn read(raw: &[u8]) -> Result<Self, Wrong> {
        let mut rest = raw;
        let rp_id_hash = take::<32>(&mut rest)?;
        let [flags] = take::<1>(&mut rest)?;
        let sign_count = u32::from_be_bytes(take::<4>(&mut rest)?);
        let attested = if flags & AT == 0 { None } else { Some(Attested::read(&mut rest)?) };
        if flags & ED != 0 && !matches!(item(&mut rest), Some(Value::Map(_))) {
            return Err(Wrong::AuthenticatorData);
        }
        if !rest.is_empty() {
            return Err(Wrong::AuthenticatorData);
        }
        Ok(Self { rp_id_hash, flags, sign_count, attested })
    }

    /// Checks what holds for both ceremonies: relying party, presence, verification, backup flags.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self, rp_id: &str) -> Result<(), Wrong> {
        if !secret::equal(&self.rp_id_hash, &secret::sha256(rp_id.as_bytes())) {
            return Err(Wrong::RelyingParty);
        }
        if self.flags & UP == 0 {
            return Err(Wrong::UserPresence);
        }
        if self.flags & UV == 0 {
            return Err(Wrong::UserVerification);
        }
        if self.backed_up() && !self.backup_eligible() {
            return Err(Wrong::Backup);
        }
        Ok(())
    }

    /// Whether the credential may be copied to other devices (BE).
    pub fn backup_eligible(&self) -> bool {
        self.flags & BE != 0
    }

    /// Whether it is (BS).
    pub fn backed_up(&self) -> bool {
        self.flags & BS != 0
    }
}

impl Attested {
    fn read(rest: &mut &[u8]) -> Result<Self, Wrong> {
        take::<16>(rest)?; // AAGUID: which make it is does not matter
        let length = usize::from(u16::from_be_bytes(take::<2>(rest)?));
        let (credential_id, after) = rest.split_at_checked(length).ok_or(Wrong::AuthenticatorData)?;
        if !CREDENTIAL_ID.contains(&length) {
            return Err(Wrong::AuthenticatorData);
        }
        *rest = after;
        let key = item(rest).ok_or(Wrong::AuthenticatorData)?;
        PublicKey::read(&key).ok_or(Wrong::PublicKey)?;
        let public_key = after.get(..after.len() - rest.len()).unwrap_or_default();
        Ok(Self { credential_id: credential_id.to_vec(), public_key: public_key.to_vec() })
    }
}

/// The authenticator data of an attestation object (section 6.5.4). The statement is not read: none was
/// asked for, and which make an authenticator is does not matter here.
///
/// # Errors
/// `Attestation`.
pub fn of_attestation(raw: &[u8]) -> Result<Vec<u8>, Wrong> {
    let mut rest = raw;
    let Some(Value::Map(members)) = item(&mut rest) else { return Err(Wrong::Attestation) };
    let find =
        |name: &str| members.iter().find(|(known, _)| known.as_text() == Some(name)).map(|(_, value)| value);
    let whole = rest.is_empty()
        && members.len() == 3
        && find("fmt").is_some_and(Value::is_text)
        && find("attStmt").is_some_and(Value::is_map);
    let data = find("authData").and_then(Value::as_bytes).filter(|_| whole);
    data.cloned().ok_or(Wrong::Attestation)
}

/// The next bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Wrong> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Wrong::AuthenticatorData)?;
    *rest = tail;
    Ok(*head)
}

/// The next item of CBOR.
pub fn item(rest: &mut &[u8]) -> Option<Value> {
    ciborium::de::from_reader_with_recursion_limit(rest, DEPTH).ok()
}
