//! Time-based codes (RFC 6238: SHA-1, 30 seconds, six digits), the otpauth URI and its picture. Pure:
//! who has which secret, and which step was accepted, is the slice's.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use qrcode::{Color, EcLevel, QrCode};
use url::form_urlencoded::byte_serialize;

use crate::error::{Error, Result};
use crate::factor::base32;
use crate::secret;

/// Seconds of a step.
const STEP: i64 = 30;
/// Steps of clock drift forgiven to either side (RFC 6238, section 5.2).
const DRIFT: i64 = 1;
/// Digits of a code.
pub const DIGITS: usize = 6;
/// Bytes of a secret (RFC 4226, section 4: 160 bits recommended).
pub const SECRET: usize = 20;

/// The step of a moment.
fn step_at(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(STEP)
}

/// The code of a step: HOTP (RFC 4226, section 5.3) of its number.
fn code(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag.last().map_or(0, |last| last & 0x0f));
    let number = tag.iter().skip(offset).take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
}

/// The step that this code is of: the present one or a neighbour, later than `after`. Each is compared in
/// constant time, whichever fits.
pub fn find_step(secret: &[u8], typed: &str, at: DateTime<Utc>, after: i64) -> Option<i64> {
    let now = step_at(at);
    let fits = |step: &i64| secret::equal(code(secret, *step).as_bytes(), typed.as_bytes());
    let fitting: Vec<i64> = (now - DRIFT..=now + DRIFT).filter(fits).collect();
    fitting.into_iter().rfind(|step| *step > after)
}

/// The secret as people type it where no picture can be taken.
pub fn text(secret: &[u8]) -> String {
    base32::encode(base32::RFC4648, secret)
}

/// The Key Uri Format that authenticator apps read.
pub fn uri(issuer: &str, account: &str, secret: &[u8]) -> String {
    // form encoding writes a blank as `+`, which apps show
    let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
    format!(
        "otpauth://totp/{issuer}:{}?secret={}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={STEP}",
        encode(account),
        text(secret),
        issuer = encode(issuer),
    )
}

/// Light modules around the code (ISO/IEC 18004: four).
const QUIET: usize = 4;
/// Pixels a module is wide.
const PIXELS: usize = 6;

/// A QR code of a text, as a `data:` URI of a PNG.
///
/// # Errors
/// A defect: the text is too long for a QR code.
pub fn picture(text: &str) -> Result<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).map_err(Error::internal)?;
    let modules = code.width();
    let side = (modules + 2 * QUIET) * PIXELS;
    let colors = code.to_colors();
    let is_light = |pixel: usize, line: usize| {
        let module = |at: usize| (at / PIXELS).checked_sub(QUIET).filter(|at| *at < modules);
        let color = module(pixel).zip(module(line)).and_then(|(x, y)| colors.get(y * modules + x));
        color != Some(&Color::Dark)
    };
    let mut pixels = Vec::with_capacity(side * side.div_ceil(8));
    for line in 0..side {
        for eight in (0..side).step_by(8) {
            let bits = (eight..eight + 8).map(|pixel| u8::from(pixel >= side || is_light(pixel, line)));
            pixels.push(bits.fold(0, |byte, bit| byte << 1 | bit));
        }
    }
    let side = u32::try_from(side).map_err(Error::internal)?;
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(&pixels))
        .map_err(Error::internal)?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET_OF_THE_RFC: &[u8] = b"12345678901234567890";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("time")
    }

    #[test]
    fn the_vectors_of_rfc_6238_hold() {
        // appendix B, SHA-1, the last six of eight digits
        for (seconds, digits) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code(SECRET_OF_THE_RFC, step_at(at(seconds))), digits);
            assert_eq!(find_step(SECRET_OF_THE_RFC, digits, at(seconds), 0), Some(seconds / 30));
        }
    }

    #[test]
    fn a_clock_may_be_a_step_off_and_no_more() {
        let digits = code(SECRET_OF_THE_RFC, 100);
        for (seconds, found) in
            [(2969, None), (2970, Some(100)), (3000, Some(100)), (3059, Some(100)), (3060, None)]
        {
            assert_eq!(find_step(SECRET_OF_THE_RFC, &digits, at(seconds), 0), found, "{seconds}");
        }
    }

    #[test]
    fn an_accepted_step_and_those_before_it_are_over() {
        let (digits, before) = (code(SECRET_OF_THE_RFC, 100), code(SECRET_OF_THE_RFC, 99));
        assert_eq!(find_step(SECRET_OF_THE_RFC, &digits, at(3000), 99), Some(100));
        assert_eq!(find_step(SECRET_OF_THE_RFC, &digits, at(3000), 100), None);
        assert_eq!(find_step(SECRET_OF_THE_RFC, &before, at(3000), 100), None);
    }

    #[test]
    fn what_is_no_code_fits_nothing() {
        for typed in ["", "1", "28708", "2870820", "é28708", "      "] {
            assert_eq!(find_step(SECRET_OF_THE_RFC, typed, at(59), 0), None, "{typed:?}");
        }
    }

    #[test]
    fn the_uri_is_in_the_key_uri_format() {
        let uri = uri("Keryu & Co", "ada.l", b"foobar");
        assert_eq!(
            uri,
            "otpauth://totp/Keryu%20%26%20Co:ada.l?secret=MZXW6YTBOI&issuer=Keryu%20%26%20Co&algorithm=SHA1&digits=6&period=30"
        );
    }

    #[test]
    fn the_picture_is_a_png_of_the_code_with_a_quiet_zone() {
        let picture = picture("otpauth://totp/x").expect("picture");
        let bytes = STANDARD.decode(picture.strip_prefix("data:image/png;base64,").expect("a data URI"));
        let bytes = bytes.expect("base64");
        let mut reader =
            png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a PNG that reads");
        let (width, height) = reader.info().size();
        assert_eq!((width, width), (height, (25 + 8) * 6), "version 2 has 25 modules");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
        reader.next_frame(&mut pixels).expect("a frame");
        assert_eq!(pixels[0], 0xff, "a light corner");
        assert!(pixels.contains(&0), "dark modules");
    }
}
