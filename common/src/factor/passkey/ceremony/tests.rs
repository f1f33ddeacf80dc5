use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;
use serde_json::json;

use super::*;

const RP: &str = "example.org";
const ORIGIN: &str = "https://id.example.org";
const CHALLENGE: &[u8] = b"0123456789abcdef0123456789abcdef";
/// UP, UV, BE, BS.
const FLAGS: u8 = 0b0001_1101;

enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("key"))
    }

    fn all() -> [Self; 3] {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).expect("key");
        [Self::p256(), Self::Ed25519(Ed25519KeyPair::generate().expect("key")), Self::Rsa(rsa)]
    }

    fn members(&self) -> Vec<(i64, Value)> {
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
        match self {
            Self::P256(key) => {
                let point = key.public_key().as_ref();
                vec![
                    (1, 2.into()),
                    (3, (-7).into()),
                    (-1, 1.into()),
                    (-2, bytes(&point[1..33])),
                    (-3, bytes(&point[33..])),
                ]
            }
            Self::Ed25519(key) => {
                vec![(1, 1.into()), (3, (-8).into()), (-1, 6.into()), (-2, bytes(key.public_key().as_ref()))]
            }
            Self::Rsa(key) => {
                let (n, e) = (key.public_key().modulus(), key.public_key().exponent());
                let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
                vec![(1, 3.into()), (3, (-257).into()), (-1, bytes(n)), (-2, bytes(e))]
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => key.sign(&SystemRandom::new(), message).expect("signature").as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .expect("signature");
                signature
            }
        }
    }
}

fn map(members: Vec<(i64, Value)>) -> Value {
    Value::Map(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

fn cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("CBOR");
    bytes
}

fn client_data(ceremony: &str) -> serde_json::Value {
    json!({ "type": ceremony, "challenge": URL_SAFE_NO_PAD.encode(CHALLENGE), "origin": ORIGIN, "crossOrigin": false,
            "anything": { "else": true } })
}

fn authenticator_data(rp: &str, flags: u8, count: u32, rest: &[u8]) -> Vec<u8> {
    [&secret::sha256(rp.as_bytes())[..], &[flags], &count.to_be_bytes(), rest].concat()
}

fn attested(id: &[u8], key: &[u8]) -> Vec<u8> {
    let length = u16::try_from(id.len()).expect("length").to_be_bytes();
    [&[0; 16][..], &length, id, key].concat()
}

fn attestation(data: Vec<u8>) -> Vec<u8> {
    cbor(&Value::Map(vec![
        ("fmt".into(), "none".into()),
        ("attStmt".into(), Value::Map(Vec::new())),
        ("authData".into(), Value::Bytes(data)),
    ]))
}

fn registration(key: &Key) -> Registration {
    let data = authenticator_data(RP, FLAGS | 0x40, 0, &attested(b"id", &cbor(&map(key.members()))));
    with_data(data)
}

fn with_data(data: Vec<u8>) -> Registration {
    Registration {
        credential_id: b"id".to_vec(),
        client_data: client_data("webauthn.create").to_string().into(),
        attestation: attestation(data),
    }
}

fn assertion(key: &Key, client_data: Vec<u8>, authenticator_data: Vec<u8>) -> Assertion {
    let signature = key.sign(&[authenticator_data.as_slice(), &secret::sha256(&client_data)].concat());
    Assertion { credential_id: b"id".to_vec(), client_data, authenticator_data, signature, user_handle: None }
}

fn right(key: &Key) -> Assertion {
    assertion(key, client_data("webauthn.get").to_string().into(), authenticator_data(RP, FLAGS, 7, &[]))
}

fn registered(answer: &Registration) -> Result<Credential, Wrong> {
    register(answer, CHALLENGE, Party { rp_id: RP, origins: &[ORIGIN.to_owned()] })
}

fn asserted(answer: &Assertion, credential: &Credential) -> Result<Use, Wrong> {
    let party = Party { rp_id: RP, origins: &[ORIGIN.to_owned()] };
    assert(answer, CHALLENGE, party, &credential.public_key, credential.backup_eligible)
}

#[test]
fn what_each_kind_of_key_registers_it_can_assert() {
    for key in Key::all() {
        let credential = registered(&registration(&key)).expect("registered");
        assert_eq!(credential.credential_id, b"id");
        assert!(credential.backup_eligible && credential.backed_up);
        let used = asserted(&right(&key), &credential);
        assert_eq!(used, Ok(Use { sign_count: 7, backed_up: true }));
        let other = registered(&registration(&Key::p256())).expect("another");
        assert_eq!(asserted(&right(&key), &other), Err(Wrong::Signature));
    }
}

#[test]
fn client_data_of_elsewhere_is_refused() {
    let key = Key::p256();
    let credential = registered(&registration(&key)).expect("registered");
    let encoded = |bytes: &[u8]| json!(URL_SAFE_NO_PAD.encode(bytes));
    for (member, value, wrong) in [
        ("type", json!("webauthn.create"), Wrong::Type),
        ("type", json!("payment.get"), Wrong::Type),
        ("challenge", encoded(b"another"), Wrong::Challenge),
        ("challenge", json!("not base64url!"), Wrong::Challenge),
        ("challenge", json!(""), Wrong::Challenge),
        ("origin", json!("https://id.example.org.evil.example"), Wrong::Origin),
        ("origin", json!("http://id.example.org"), Wrong::Origin),
        ("origin", json!("https://id.example.org/"), Wrong::Origin),
        ("crossOrigin", json!(true), Wrong::CrossOrigin),
        ("topOrigin", json!("https://evil.example"), Wrong::CrossOrigin),
        ("challenge", json!(7), Wrong::ClientData),
        ("crossOrigin", json!("no"), Wrong::ClientData),
    ] {
        let mut data = client_data("webauthn.get");
        data[member] = value;
        let answer = assertion(&key, data.to_string().into(), authenticator_data(RP, FLAGS, 7, &[]));
        assert_eq!(asserted(&answer, &credential), Err(wrong), "{data}");
    }
    for raw in [&b""[..], b"{}", b"[]", b"\xff", br#"{"type":"webauthn.get","type":"webauthn.get"}"#] {
        let answer = assertion(&key, raw.to_vec(), authenticator_data(RP, FLAGS, 7, &[]));
        assert_eq!(asserted(&answer, &credential), Err(Wrong::ClientData));
    }
}

#[test]
fn authenticator_data_must_be_for_us_and_of_somebody_verified() {
    let key = Key::p256();
    let credential = registered(&registration(&key)).expect("registered");
    for (rp, flags, rest, wrong) in [
        ("id.example.org", FLAGS, &[][..], Wrong::RelyingParty),
        (RP, FLAGS & !1, &[], Wrong::UserPresence),
        (RP, FLAGS & !4, &[], Wrong::UserVerification),
        (RP, FLAGS & !8, &[], Wrong::Backup),
        (RP, FLAGS & !24, &[], Wrong::Backup),
        (RP, FLAGS, &[0], Wrong::AuthenticatorData),
        (RP, FLAGS | 0x80, &[], Wrong::AuthenticatorData),
        (RP, FLAGS | 0x80, &[0x01], Wrong::AuthenticatorData),
        (RP, FLAGS | 0x80, &[0xa0, 0], Wrong::AuthenticatorData),
        (RP, FLAGS | 0x40, &[], Wrong::AuthenticatorData),
    ] {
        let data = authenticator_data(rp, flags, 7, rest);
        let answer = assertion(&key, client_data("webauthn.get").to_string().into(), data);
        assert_eq!(asserted(&answer, &credential), Err(wrong), "{rp} {flags:08b} {rest:?}");
    }
    let extended = authenticator_data(RP, FLAGS | 0x80, 7, &[0xa0]);
    let answer = assertion(&key, client_data("webauthn.get").to_string().into(), extended);
    assert!(asserted(&answer, &credential).is_ok(), "extensions are read over");
}

#[test]
fn keys_that_were_not_asked_for_are_refused() {
    let [p256, ed25519, rsa] = Key::all();
    let change = |key: &Key, name: i64, value: Option<Value>| {
        let mut members = key.members();
        members.retain(|(known, _)| *known != name);
        members.extend(value.map(|value| (name, value)));
        members
    };
    let bytes = |byte: u8, length| Some(Value::Bytes(vec![byte; length]));
    let mut twice = p256.members();
    twice.push((1, 2.into()));
    for members in [
        change(&p256, 1, Some(1.into())),
        change(&p256, 3, Some((-35).into())),
        change(&p256, 3, Some((-65535).into())),
        change(&p256, -1, Some(2.into())),
        change(&p256, -2, bytes(1, 32)),
        change(&p256, -2, bytes(1, 31)),
        change(&p256, -3, None),
        change(&p256, -3, Some(true.into())),
        change(&p256, -4, bytes(1, 32)),
        change(&p256, 3, Some("ES256".into())),
        change(&ed25519, -2, bytes(1, 33)),
        change(&ed25519, -1, Some(7.into())),
        change(&rsa, -1, bytes(0xff, 128)),
        change(&rsa, -1, bytes(0xff, 1024)),
        change(&rsa, -2, Some(Value::Bytes(Vec::new()))),
        change(&rsa, -2, bytes(0, 3)),
        twice,
        Vec::new(),
    ] {
        let data = authenticator_data(RP, FLAGS | 0x40, 0, &attested(b"id", &cbor(&map(members.clone()))));
        assert_eq!(registered(&with_data(data)), Err(Wrong::PublicKey), "{members:?}");
    }
}

#[test]
fn a_registration_has_one_credential_under_its_own_id() {
    let key = cbor(&map(Key::p256().members()));
    let of = |rest: &[u8]| registered(&with_data(authenticator_data(RP, FLAGS | 0x40, 0, rest)));
    assert_eq!(of(&attested(b"other", &key)), Err(Wrong::CredentialId));
    assert_eq!(of(&attested(b"", &key)), Err(Wrong::AuthenticatorData));
    assert_eq!(of(&attested(&[1; 1024], &key)), Err(Wrong::AuthenticatorData));
    assert_eq!(of(&[&attested(b"id", &key)[..], &[0]].concat()), Err(Wrong::AuthenticatorData));
    let none = registered(&with_data(authenticator_data(RP, FLAGS, 0, &[])));
    assert_eq!(none, Err(Wrong::AuthenticatorData));
    let mut trailing = registration(&Key::p256());
    trailing.attestation.push(0);
    assert_eq!(registered(&trailing), Err(Wrong::Attestation));
    let nested = Registration { attestation: vec![0x81; 100_000], ..registration(&Key::p256()) };
    assert_eq!(registered(&nested), Err(Wrong::Attestation));
    let endless = Registration { attestation: vec![0x9f; 100_000], ..registration(&Key::p256()) };
    assert_eq!(registered(&endless), Err(Wrong::Attestation));
    for huge in [
        &b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x9a\xff\xff\xff\xff",
    ] {
        let answer = Registration { attestation: huge.to_vec(), ..registration(&Key::p256()) };
        assert_eq!(registered(&answer), Err(Wrong::Attestation), "{huge:?}");
    }
}

/// A generator with a seed (xorshift), so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }

    /// A byte changed, put in, left out, or the rest cut off.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let byte = self.below(256) as u8;
        match self.below(4) {
            0 if at < bytes.len() => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.truncate(at),
        }
    }
}

#[test]
fn no_mutation_of_an_answer_panics_and_none_of_what_is_signed_passes() {
    let key = Key::p256();
    let registration = registration(&key);
    let credential = registered(&registration).expect("registered");
    let answer = right(&key);
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    for round in 0..20_000 {
        let mut changed = registration.clone();
        let mut asserting = answer.clone();
        for _ in 0..=dice.below(3) {
            match dice.below(2) {
                0 => dice.mutate(&mut changed.attestation),
                _ => dice.mutate(&mut changed.client_data),
            }
            match dice.below(3) {
                0 => dice.mutate(&mut asserting.authenticator_data),
                1 => dice.mutate(&mut asserting.client_data),
                _ => dice.mutate(&mut asserting.signature),
            }
        }
        let _ = registered(&changed);
        let same = asserting.authenticator_data == answer.authenticator_data
            && asserting.client_data == answer.client_data
            && asserting.signature == answer.signature;
        assert_eq!(asserted(&asserting, &credential).is_ok(), same, "round {round}: {asserting:?}");
    }
}
