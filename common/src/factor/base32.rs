//! Five bits a character, in the alphabet of the use.

/// RFC 4648, section 6.
pub const RFC4648: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Crockford's: no I, L, O or U, which are read as other characters.
pub const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The text of these bytes, without padding.
pub fn encode(alphabet: &[u8; 32], bytes: &[u8]) -> String {
    bytes
        .chunks(5)
        .flat_map(|chunk| {
            let mut bits = [0; 8];
            for (to, from) in bits.iter_mut().skip(3).zip(chunk) {
                *to = *from;
            }
            let bits = u64::from_be_bytes(bits);
            let length = (chunk.len() * 8).div_ceil(5);
            (0..length).map(move |n| char::from(alphabet[(bits >> (35 - 5 * n) & 31) as usize]))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648_hold() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(encode(RFC4648, bytes.as_bytes()), text);
        }
    }
}
