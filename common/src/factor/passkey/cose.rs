//! Public keys in COSE (RFC 9052, RFC 9053): read strictly, checked before they are stored, and what
//! verifies with them. ES256, EdDSA (Ed25519) and RS256, as WebAuthn Level 3 wants of a relying party.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use ciborium::Value;

/// COSE algorithm numbers, in the order we like them.
pub const ALGORITHMS: [i32; 3] = [ES256, EDDSA, RS256];
const ES256: i32 = -7;
const EDDSA: i32 = -8;
const RS256: i32 = -257;

/// Key parameters (RFC 9053, section 7; RFC 8230, section 4).
const KTY: i128 = 1;
const ALG: i128 = 3;
const OKP: i128 = 1;
const EC2: i128 = 2;
const RSA: i128 = 3;
const P256: i128 = 1;
const CURVE_ED25519: i128 = 6;

/// Bytes of a coordinate of P-256, and of an Ed25519 key.
const COORDINATE: usize = 32;
/// Bytes of an RSA modulus: 2,048 to 4,096 bits.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=512;
/// Bytes of an RSA exponent: F4 and such.
const EXPONENT: std::ops::RangeInclusive<usize> = 1..=4;

/// A key that can verify.
#[derive(Debug)]
pub struct PublicKey(ParsedPublicKey);

impl PublicKey {
    /// Reads a COSE key: one that we asked for, with the members it needs and no others. None: anything else.
    pub fn read(key: &Value) -> Option<Self> {
        let key = Members::read(key)?;
        let parsed = match (key.integer(KTY)?, i32::try_from(key.integer(ALG)?).ok()?) {
            (EC2, ES256) => {
                key.are(&[KTY, ALG, -1, -2, -3])?;
                (key.integer(-1)? == P256).then_some(())?;
                let (x, y) =
                    (key.bytes(-2, COORDINATE..=COORDINATE)?, key.bytes(-3, COORDINATE..=COORDINATE)?);
                // SEC 1: uncompressed; whether the point is on the curve is checked by the parser
                ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, [&[4], x, y].concat()).ok()?
            }
            (OKP, EDDSA) => {
                key.are(&[KTY, ALG, -1, -2])?;
                (key.integer(-1)? == CURVE_ED25519).then_some(())?;
                ParsedPublicKey::new(&ED25519, key.bytes(-2, COORDINATE..=COORDINATE)?).ok()?
            }
            (RSA, RS256) => {
                key.are(&[KTY, ALG, -1, -2])?;
                let (n, e) = (key.bytes(-1, MODULUS)?, key.bytes(-2, EXPONENT)?);
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?
            }
            _ => return None,
        };
        Some(Self(parsed))
    }

    /// Whether this signature of the message is by this key.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

/// A map of integers to values, each once.
struct Members<'a>(Vec<(i128, &'a Value)>);

impl<'a> Members<'a> {
    fn read(value: &'a Value) -> Option<Self> {
        let members: Option<Vec<(i128, &Value)>> =
            value.as_map()?.iter().map(|(name, value)| Some((name.as_integer()?.into(), value))).collect();
        members.map(Self)
    }

    /// As many members as names, each of them there: so none is there twice, and no other.
    fn are(&self, names: &[i128]) -> Option<()> {
        let all = names.iter().all(|name| self.find(*name).is_some());
        (all && self.0.len() == names.len()).then_some(())
    }

    fn find(&self, name: i128) -> Option<&'a Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn integer(&self, name: i128) -> Option<i128> {
        self.find(name)?.as_integer().map(Into::into)
    }

    fn bytes(&self, name: i128, length: std::ops::RangeInclusive<usize>) -> Option<&'a [u8]> {
        let bytes = self.find(name)?.as_bytes()?;
        length.contains(&bytes.len()).then_some(bytes.as_slice())
    }
}
