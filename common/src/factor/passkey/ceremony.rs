//! The two ceremonies of WebAuthn Level 3 (sections 7.1 and 7.2), but for what only the database knows:
//! whose challenge it was, which credentials there are.

use super::cose::PublicKey;
use super::data::{AuthenticatorData, Ceremony, Wrong, check_client, item, of_attestation};
use crate::secret;

/// For whom answers must have been made.
#[derive(Clone, Copy, Debug)]
pub struct Party<'a> {
    /// The relying party: a domain.
    pub rp_id: &'a str,
    /// Where answers may be made.
    pub origins: &'a [String],
}

/// An answer to a request for a new credential.
#[derive(Clone, Debug)]
pub struct Registration {
    /// `rawId`.
    pub credential_id: Vec<u8>,
    /// `clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `attestationObject`.
    pub attestation: Vec<u8>,
}

/// A credential to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Chosen by the authenticator.
    pub credential_id: Vec<u8>,
    /// COSE.
    pub public_key: Vec<u8>,
    /// How often it signed; 0 where it does not count.
    pub sign_count: u32,
    /// Whether it may be copied to other devices.
    pub backup_eligible: bool,
    /// Whether it is.
    pub backed_up: bool,
}

/// Verifies a registration.
///
/// # Errors
/// The first that is wrong.
pub fn register(answer: &Registration, challenge: &[u8], party: Party<'_>) -> Result<Credential, Wrong> {
    check_client(&answer.client_data, Ceremony::Create, challenge, party.origins)?;
    let data = AuthenticatorData::read(&of_attestation(&answer.attestation)?)?;
    data.check(party.rp_id)?;
    let (sign_count, backup_eligible, backed_up) =
        (data.sign_count, data.backup_eligible(), data.backed_up());
    let attested = data.attested.ok_or(Wrong::AuthenticatorData)?;
    if attested.credential_id != answer.credential_id {
        return Err(Wrong::CredentialId);
    }
    let (credential_id, public_key) = (attested.credential_id, attested.public_key);
    Ok(Credential { credential_id, public_key, sign_count, backup_eligible, backed_up })
}

/// An answer to a challenge by a credential.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// `rawId`.
    pub credential_id: Vec<u8>,
    /// `clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `authenticatorData`.
    pub authenticator_data: Vec<u8>,
    /// `signature`.
    pub signature: Vec<u8>,
    /// `userHandle`: whose the authenticator thinks it is.
    pub user_handle: Option<Vec<u8>>,
}

/// What an assertion says anew of its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// How often it signed.
    pub sign_count: u32,
    /// Whether it is on other devices too.
    pub backed_up: bool,
}

/// Verifies an assertion with the credential's key. Whether the counter went back is decided where the
/// last one is kept.
///
/// # Errors
/// The first that is wrong.
pub fn assert(
    answer: &Assertion,
    challenge: &[u8],
    party: Party<'_>,
    public_key: &[u8],
    backup_eligible: bool,
) -> Result<Use, Wrong> {
    check_client(&answer.client_data, Ceremony::Get, challenge, party.origins)?;
    let data = AuthenticatorData::read(&answer.authenticator_data)?;
    data.check(party.rp_id)?;
    if data.attested.is_some() {
        return Err(Wrong::AuthenticatorData);
    }
    if data.backup_eligible() != backup_eligible {
        return Err(Wrong::Backup);
    }
    let key = item(&mut &*public_key).and_then(|key| PublicKey::read(&key)).ok_or(Wrong::PublicKey)?;
    let signed = [answer.authenticator_data.as_slice(), &secret::sha256(&answer.client_data)].concat();
    if !key.verifies(&signed, &answer.signature) {
        return Err(Wrong::Signature);
    }
    Ok(Use { sign_count: data.sign_count, backed_up: data.backed_up() })
}

#[cfg(test)]
mod tests;
