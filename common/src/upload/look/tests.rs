//! Files as encoders write them, cut, changed and claimed to be what they are not.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use super::{Fault, Kind, look};
use crate::secret::random;

/// A picture of noise, 64 by 48, as a file.
fn file(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let noise = |x: u32, y: u32| Rgb([(x * 7 + y * 13) as u8, (x ^ y) as u8, y as u8]);
    DynamicImage::from(RgbImage::from_fn(64, 48, noise)).write_to(&mut bytes, format).expect("written");
    bytes.into_inner()
}

/// A chunk of a PNG, with the check sum left out: nothing here reads it.
fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).expect("short").to_be_bytes()[..], kind, body, &[0; 4]].concat()
}

#[test]
fn other_files_are_refused_whatever_they_are_called() {
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    let others: [&[u8]; 8] = [
        b"",
        svg,
        b"GIF89a\x01\0\x01\0\0\0\0;",
        b"%PDF-1.7",
        b"BM\0\0\0\0",
        b"RIFF\x04\0\0\0WAVE",
        b"\x89PNG\n",
        &[0xff, 0xd8],
    ];
    for bytes in others {
        assert_eq!(look(bytes), Err(Fault::Type), "{bytes:?}");
    }
}

#[test]
fn a_file_that_ends_early_is_refused_wherever_it_ends() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let bytes = file(format);
        for end in 12..bytes.len() {
            assert_eq!(look(&bytes[..end]), Err(Fault::Broken), "{format:?} cut at {end} of {}", bytes.len());
        }
        assert_ne!(look(&[&bytes[..], b"what a phone adds"].concat()), Err(Fault::Broken), "{format:?}");
    }
}

#[test]
fn what_a_head_claims_is_refused_before_anything_is_decoded() {
    let png = |width: u32, height: u32| {
        let head = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
        [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &head), chunk(b"IDAT", &[0; 64]), chunk(b"IEND", &[])]
            .concat()
    };
    assert_eq!(look(&png(30_000, 30_000)), Err(Fault::Pixels));
    assert_eq!(look(&png(u32::MAX, u32::MAX)), Err(Fault::Pixels));
    assert_eq!(look(&png(0, 10)), Err(Fault::Broken));
    assert_eq!(look(&png(8_000, 5_000)), Ok(Kind::Png), "40 megapixels are taken");
    assert_eq!(look(&png(8_000, 5_001)), Err(Fault::Pixels));
    let mut jpeg = file(ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).expect("a frame");
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x75, 0x30, 0x75, 0x30]);
    assert_eq!(look(&jpeg), Err(Fault::Pixels));
    let mut webp = file(ImageFormat::WebP);
    let data = webp.windows(4).position(|kind| kind == b"VP8L").expect("lossless");
    webp[data + 9..data + 13].copy_from_slice(&[0xff, 0xff, 0xff, 0x0f]);
    assert_eq!(look(&webp), Err(Fault::Pixels));
}

#[test]
fn what_moves_is_refused() {
    let png = file(ImageFormat::Png);
    let animated = [&png[..33], &chunk(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0])[..], &png[33..]].concat();
    assert_eq!(look(&animated), Err(Fault::Animated));
    let extended = [2, 0, 0, 0, 63, 0, 0, 47, 0, 0];
    let mut webp = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0".to_vec();
    webp.extend_from_slice(&extended);
    webp.extend_from_slice(b"ANIM\x06\0\0\0\0\0\0\0\0\0");
    let size = u32::try_from(webp.len() - 8).expect("short").to_le_bytes();
    webp[4..8].copy_from_slice(&size);
    assert_eq!(look(&webp), Err(Fault::Animated));
}

#[test]
fn whole_files_are_what_they_are() {
    for (format, kind) in
        [(ImageFormat::Jpeg, Kind::Jpeg), (ImageFormat::Png, Kind::Png), (ImageFormat::WebP, Kind::Webp)]
    {
        assert_eq!(look(&file(format)), Ok(kind));
    }
}

#[test]
fn a_later_frame_does_not_hide_the_size_of_the_first() {
    let jpeg = file(ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).expect("a frame");
    let length = 2 + usize::from(u16::from_be_bytes([jpeg[frame + 2], jpeg[frame + 3]]));
    let mut large = jpeg[frame..frame + length].to_vec();
    large[5..9].copy_from_slice(&[0x75, 0x30, 0x75, 0x30]);
    assert_eq!(look(&[&jpeg[..frame], &large, &jpeg[frame..]].concat()), Err(Fault::Pixels));
}

#[test]
fn damaged_files_end_in_an_answer() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let good = file(format);
        for at in 0..good.len().min(400) {
            for value in [0, 1, 0x7f, 0x80, 0xff, random::<1>()[0]] {
                let mut bytes = good.clone();
                bytes[at] = value;
                let _ = look(&bytes);
            }
        }
    }
}
