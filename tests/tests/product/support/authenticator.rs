//! A software authenticator and the browser in front of it (WebAuthn Level 3), with a knob for whatever an
//! attacker would turn.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keryu_common::secret::{random, sha256};
use serde_json::{Value, json};

/// User present, user verified, backup eligible, backed up.
const FLAGS: u8 = 0b0001_1101;
/// Attested credential data follows.
const ATTESTED: u8 = 0b0100_0000;

/// One credential, and how it is used.
pub struct Authenticator {
    key: EcdsaKeyPair,
    /// The credential id.
    pub id: [u8; 16],
    /// As handed over at registration.
    pub user_handle: Option<String>,
    /// Where the browser is.
    pub origin: String,
    /// In place of the relying party of the options.
    pub rp_id: Option<String>,
    /// What the authenticator says it did.
    pub flags: u8,
    /// How often it signed; None: it does not count.
    pub count: Option<u32>,
}

impl Authenticator {
    /// A new one, in a browser at this origin.
    pub fn at(origin: &str) -> Self {
        Self {
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("key"),
            id: random(),
            user_handle: None,
            origin: origin.to_owned(),
            rp_id: None,
            flags: FLAGS,
            count: Some(0),
        }
    }

    /// `navigator.credentials.create(options)`, as `toJSON()` gives it.
    pub fn create(&mut self, options: &Value) -> Value {
        self.user_handle = options["user"]["id"].as_str().map(ToOwned::to_owned);
        let rp_id = self.rp_id.clone().unwrap_or_else(|| text(&options["rp"]["id"]));
        let credential = [&[0; 16][..], &[0, 16], &self.id, &self.cose()].concat();
        let data = self.data(&rp_id, self.flags | ATTESTED, &credential);
        let id = encode(&self.id);
        json!({
            "id": id, "rawId": id, "type": "public-key", "authenticatorAttachment": "platform",
            "clientExtensionResults": { "credProps": { "rk": true } },
            "response": {
                "clientDataJSON": encode(self.client_data("webauthn.create", options).as_bytes()),
                "attestationObject": encode(&attestation(&data)),
                "authenticatorData": encode(&data),
                "transports": ["hybrid", "internal", "telepathy"],
                "publicKeyAlgorithm": -7,
            },
        })
    }

    /// `navigator.credentials.get(options)`, as `toJSON()` gives it.
    pub fn get(&mut self, options: &Value) -> Value {
        self.count = self.count.map(|count| count + 1);
        let rp_id = self.rp_id.clone().unwrap_or_else(|| text(&options["rpId"]));
        let client_data = self.client_data("webauthn.get", options);
        let data = self.data(&rp_id, self.flags, &[]);
        let signed = [data.as_slice(), &sha256(client_data.as_bytes())].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed).expect("signature");
        let id = encode(&self.id);
        json!({
            "id": id, "rawId": id, "type": "public-key", "authenticatorAttachment": null,
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": encode(client_data.as_bytes()),
                "authenticatorData": encode(&data),
                "signature": encode(signature.as_ref()),
                "userHandle": self.user_handle,
            },
        })
    }

    fn client_data(&self, ceremony: &str, options: &Value) -> String {
        json!({ "type": ceremony, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": false })
            .to_string()
    }

    fn data(&self, rp_id: &str, flags: u8, rest: &[u8]) -> Vec<u8> {
        let count = self.count.unwrap_or(0).to_be_bytes();
        [&sha256(rp_id.as_bytes())[..], &[flags], &count, rest].concat()
    }

    /// ES256 in COSE: a map of five members, in CTAP2's order.
    fn cose(&self) -> Vec<u8> {
        let point = self.key.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        [&[0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20][..], x, &[0x22, 0x58, 0x20], y]
            .concat()
    }
}

/// CBOR of `{"fmt": "none", "attStmt": {}, "authData": data}`.
fn attestation(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("short").to_be_bytes();
    [b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59", &length[..], data].concat()
}

/// Base64url without padding.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
