use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

use super::render::sizes;
use crate::secret::random;
use crate::upload::look::look;

/// Red on the left, blue on the right.
fn two_halves(width: u32, height: u32) -> DynamicImage {
    let half = |x: u32, _| if x < width / 2 { Rgb([220, 20, 20]) } else { Rgb([20, 20, 220]) };
    RgbImage::from_fn(width, height, half).into()
}

fn file(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).expect("written");
    bytes.into_inner()
}

fn media(bytes: &[u8]) -> &'static str {
    look(bytes).expect("a picture").content_type()
}

fn shown(bytes: &[u8]) -> [RgbImage; 2] {
    let made = sizes(bytes).expect("made");
    made.map(|bytes| {
        assert_eq!(media(&bytes), "image/jpeg");
        image::load_from_memory(&bytes).expect("a JPEG").into_rgb8()
    })
}

fn near(pixel: Rgb<u8>, wanted: [u8; 3]) -> bool {
    pixel.0.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) < 30)
}

/// A segment of metadata behind the head of a JPEG: the orientation, and where it was taken.
fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0]);
    exif.extend_from_slice(b"GPS 1.2921 S 36.8219 E");
    let length = u16::try_from(exif.len() + 2).expect("short").to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}

/// A baseline JPEG of one block in four inks, as editors write them: inverted, and marked as Adobe's.
fn four_inks(stored: [u8; 4]) -> Vec<u8> {
    let mut jpeg = vec![0xff, 0xd8];
    let mut segment = |marker: u8, body: &[u8]| {
        jpeg.extend_from_slice(&[0xff, marker]);
        jpeg.extend_from_slice(&u16::try_from(body.len() + 2).expect("short").to_be_bytes());
        jpeg.extend_from_slice(body);
    };
    segment(0xee, b"Adobe\0\x64\0\0\0\0\0");
    segment(0xdb, &[&[0][..], &[1; 64]].concat());
    segment(0xc0, &[8, 0, 8, 0, 8, 4, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 4, 0x11, 0]);
    // of direct current: twelve codes of four bits; of the rest: the end of the block in one bit
    segment(
        0xc4,
        &[&[0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &(0..12).collect::<Vec<u8>>()].concat(),
    );
    segment(0xc4, &[&[0x10, 1][..], &[0; 15], &[0]].concat());
    segment(0xda, &[4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0]);
    let mut bits = String::new();
    for value in stored {
        let step = (i32::from(value) - 128) * 8;
        let size = 32 - step.unsigned_abs().leading_zeros();
        bits.push_str(&format!("{size:04b}"));
        let coded = if step < 0 { step + (1 << size) - 1 } else { step };
        if size > 0 {
            bits.push_str(&format!("{coded:0width$b}", width = size as usize));
        }
        bits.push('0');
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    for byte in bits.as_bytes().chunks(8) {
        let byte = byte.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
        jpeg.push(byte);
        if byte == 0xff {
            jpeg.push(0);
        }
    }
    jpeg.extend_from_slice(&[0xff, 0xd9]);
    jpeg
}

#[test]
fn three_types_are_told_by_their_content_and_made_into_two_sizes() {
    let picture = two_halves(1200, 600);
    for (format, kind) in [
        (ImageFormat::Jpeg, "image/jpeg"),
        (ImageFormat::Png, "image/png"),
        (ImageFormat::WebP, "image/webp"),
    ] {
        let bytes = file(&picture, format);
        assert_eq!(media(&bytes), kind);
        let [large, small] = shown(&bytes);
        assert_eq!((large.dimensions(), small.dimensions()), ((512, 256), (128, 64)), "{kind}");
        assert!(
            near(*large.get_pixel(20, 128), [220, 20, 20]) && near(*large.get_pixel(490, 128), [20, 20, 220])
        );
    }
    let [large, small] = shown(&file(&two_halves(100, 40), ImageFormat::Png));
    assert_eq!((large.dimensions(), small.dimensions()), ((100, 40), (100, 40)), "none is made larger");
}

#[test]
fn pictures_come_out_upright_and_without_what_the_camera_wrote() {
    let jpeg = file(&two_halves(400, 200), ImageFormat::Jpeg);
    let places = [
        // where the red half is: at the top, at the bottom, left, right
        (1, (20, 100), (380, 100)),
        (3, (380, 100), (20, 100)),
        (6, (100, 20), (100, 380)),
        (8, (100, 380), (100, 20)),
    ];
    for (orientation, red, blue) in places {
        let sent = turned(&jpeg, orientation);
        assert_eq!(media(&sent), "image/jpeg");
        let made = sizes(&sent).expect("made");
        for bytes in &made {
            assert!(!bytes.windows(4).any(|part| part == b"Exif" || part == b"GPS "), "{orientation}");
        }
        let [large, _] = shown(&sent);
        assert!(near(*large.get_pixel(red.0, red.1), [220, 20, 20]), "{orientation}");
        assert!(near(*large.get_pixel(blue.0, blue.1), [20, 20, 220]), "{orientation}");
    }
}

#[test]
fn four_inks_come_out_in_their_colours() {
    // 255 is no ink
    for (stored, wanted) in [
        ([0, 255, 255, 255], [0, 255, 255]),
        ([255, 0, 255, 255], [255, 0, 255]),
        ([255, 255, 0, 255], [255, 255, 0]),
        ([255, 255, 255, 0], [0, 0, 0]),
        ([255, 255, 255, 255], [255, 255, 255]),
    ] {
        let sent = four_inks(stored);
        assert_eq!(media(&sent), "image/jpeg");
        let [large, small] = shown(&sent);
        assert_eq!(large.dimensions(), (8, 8));
        assert!(near(*small.get_pixel(4, 4), wanted), "{stored:?} became {:?}", small.get_pixel(4, 4));
    }
}

#[test]
fn what_is_see_through_comes_out_on_white() {
    let sent =
        RgbaImage::from_fn(64, 64, |x, _| if x < 32 { Rgba([0, 0, 0, 0]) } else { Rgba([0, 0, 0, 255]) });
    let [large, _] = shown(&file(&sent.into(), ImageFormat::Png));
    assert!(near(*large.get_pixel(8, 32), [255, 255, 255]) && near(*large.get_pixel(56, 32), [0, 0, 0]));
}

#[test]
fn damaged_files_end_in_a_refusal_or_a_picture() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let good = file(&two_halves(40, 30), format);
        for _ in 0..150 {
            let mut bytes = good.clone();
            for _ in 0..4 {
                let at = u32::from_be_bytes(random()) as usize % bytes.len();
                [bytes[at]] = random();
            }
            if look(&bytes).is_ok()
                && let Some([large, small]) = sizes(&bytes)
            {
                assert!(media(&large) == "image/jpeg" && media(&small) == "image/jpeg");
            }
        }
    }
}

#[test]
fn what_a_head_claims_is_not_decoded() {
    let mut png = file(&two_halves(64, 48), ImageFormat::Png);
    png[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    assert!(sizes(&png).is_none(), "30,000 by 30,000");
}
