//! What a file that somebody sent is, told by its content: a name and a declared type prove nothing. Only
//! headers are read: nothing is decoded, so that no file takes more memory than its own bytes.

use crate::error::{Code, Refusal};

/// The most bytes of a file.
pub const MOST_BYTES: usize = 5 * 1024 * 1024;
/// The most pixels of a picture.
pub const MOST_PIXELS: u64 = 40_000_000;

/// It is of another type, whatever it is called.
pub const TYPE: Code = Code {
    code: "kyc.file_type",
    status: 422,
    title: "The file is of a type that is not taken",
    advice: "Send a JPEG, PNG, WebP (not animated) or PDF file.",
};
/// It ends early, or its parts contradict each other.
pub const BROKEN: Code = Code {
    code: "kyc.file_broken",
    status: 422,
    title: "The file is not whole",
    advice: "Send the whole file again.",
};
/// It would be too large once it is opened.
pub const PIXELS: Code = Code {
    code: "kyc.file_pixels",
    status: 422,
    title: "The picture has too many pixels",
    advice: "Send a smaller picture: 40 megapixels at most.",
};
/// It has too many bytes.
pub const BYTES: Code = Code {
    code: "kyc.file_too_large",
    status: 413,
    title: "The file is too large",
    advice: "Send a smaller file: 5 MiB at most.",
};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A photograph.
    Jpeg,
    /// A screenshot or a scan.
    Png,
    /// Either.
    Webp,
    /// A scan of one or more pages.
    Pdf,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Jpeg, Self::Png, Self::Webp, Self::Pdf];

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
            Self::Pdf => "application/pdf",
        }
    }

    /// How names of such files end.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
            Self::Pdf => "pdf",
        }
    }

    /// The kind with this media type.
    pub fn of(media_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.media_type() == media_type)
    }
}

/// What the bytes are, if they are a whole file of a type that is taken.
///
/// # Errors
/// `kyc.file_type`, `kyc.file_broken`, `kyc.file_pixels`, `kyc.file_too_large`.
pub fn check(bytes: &[u8]) -> Result<Kind, Refusal> {
    if bytes.len() > MOST_BYTES {
        return Err(BYTES.refuse(format!("The file has more than {MOST_BYTES} bytes.")));
    }
    let (kind, read): (_, fn(&[u8]) -> Option<Picture>) = match bytes {
        [0xff, 0xd8, 0xff, ..] => (Kind::Jpeg, jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => (Kind::Png, png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => (Kind::Webp, webp),
        [b'%', b'P', b'D', b'F', b'-', ..] => return pdf(bytes),
        _ => return Err(TYPE.refuse("This is no JPEG, PNG, WebP or PDF file, whatever its name says.")),
    };
    let picture = read(bytes).filter(|picture| picture.pixels() > 0);
    let picture = picture.ok_or_else(|| BROKEN.refuse("The file ends early, or is damaged."))?;
    if picture.animated {
        return Err(TYPE.refuse("An animated picture shows no document."));
    }
    if picture.pixels() > MOST_PIXELS {
        let (width, height) = (picture.width, picture.height);
        return Err(PIXELS.refuse(format!("The picture is {width} × {height} pixels.")));
    }
    Ok(kind)
}

/// What the headers of a whole picture say.
#[derive(Clone, Copy, Debug, Default)]
struct Picture {
    width: u32,
    height: u32,
    animated: bool,
}

impl Picture {
    fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn le16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn le24(bytes: &[u8], at: usize) -> Option<u32> {
    Some(le16(bytes, at)? | u32::from(*bytes.get(at + 2)?) << 16)
}

/// Segment by segment to the end of the image (ITU-T T.81, annex B).
fn jpeg(bytes: &[u8]) -> Option<Picture> {
    let (mut at, mut picture, mut scanned) = (2, Picture::default(), false);
    loop {
        if *bytes.get(at)? != 0xff {
            return None;
        }
        while *bytes.get(at)? == 0xff {
            at += 1;
        }
        let marker = *bytes.get(at)?;
        at += 1;
        match marker {
            0xd9 => return Some(picture).filter(|_| scanned),
            0x01 | 0xd0..=0xd7 => continue,
            0x00 | 0xd8 => return None,
            _ => {}
        }
        let length = usize::try_from(be16(bytes, at)?).ok().filter(|length| *length >= 2)?;
        let segment = bytes.get(at + 2..at + length)?;
        // a frame; 0xc4, 0xc8 and 0xcc are tables
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            (picture.height, picture.width) = (be16(segment, 1)?, be16(segment, 3)?);
        }
        at += length;
        if marker == 0xda {
            scanned = true;
            at = after_scan(bytes, at)?;
        }
    }
}

/// Where the first marker after a scan is: a byte of 0xff in the scan itself is followed by zero or a restart.
fn after_scan(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0xff)?;
        match *bytes.get(at + 1)? {
            0x00 | 0xd0..=0xd7 => at += 2,
            0xff => at += 1,
            _ => return Some(at),
        }
    }
}

/// Chunk by chunk to `IEND` (ISO/IEC 15948, section 5).
fn png(bytes: &[u8]) -> Option<Picture> {
    let (mut at, mut picture, mut data) = (8, Picture::default(), false);
    loop {
        let length = usize::try_from(be32(bytes, at)?).ok()?;
        let kind = bytes.get(at + 4..at + 8)?;
        // with its checksum
        let end = at.checked_add(length)?.checked_add(12).filter(|end| *end <= bytes.len())?;
        match kind {
            b"IHDR" if at == 8 => {
                (picture.width, picture.height) = (be32(bytes, at + 8)?, be32(bytes, at + 12)?);
            }
            _ if at == 8 => return None,
            b"acTL" => picture.animated = true,
            b"IDAT" => data = true,
            b"IEND" => return Some(picture).filter(|_| data),
            _ => {}
        }
        at = end;
    }
}

/// The size that the container gives, and the first chunk (RFC 9649, section 2).
fn webp(bytes: &[u8]) -> Option<Picture> {
    let end = usize::try_from(le32(bytes, 4)?).ok()?.checked_add(8).filter(|end| *end <= bytes.len())?;
    let length = usize::try_from(le32(bytes, 16)?).ok()?;
    length.checked_add(20).filter(|of_chunk| *of_chunk <= end)?;
    match bytes.get(12..16)? {
        b"VP8 " => {
            (*bytes.get(23..26)? == [0x9d, 0x01, 0x2a]).then_some(())?;
            let (width, height) = (le16(bytes, 26)? & 0x3fff, le16(bytes, 28)? & 0x3fff);
            Some(Picture { width, height, animated: false })
        }
        b"VP8L" => {
            (*bytes.get(20)? == 0x2f).then_some(())?;
            let bits = le32(bytes, 21)?;
            let (width, height) = ((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1);
            Some(Picture { width, height, animated: false })
        }
        b"VP8X" => {
            let (width, height) = (le24(bytes, 24)? + 1, le24(bytes, 27)? + 1);
            Some(Picture { width, height, animated: *bytes.get(20)? & 0x02 != 0 })
        }
        _ => None,
    }
}

/// Its end is near the end (ISO 32000, annex H: readers look at the last 1024 bytes).
fn pdf(bytes: &[u8]) -> Result<Kind, Refusal> {
    let tail = &bytes[bytes.len().saturating_sub(1024)..];
    match tail.windows(5).any(|part| part == b"%%EOF") {
        true => Ok(Kind::Pdf),
        false => Err(BROKEN.refuse("The PDF file ends early.")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, ImageFormat, RgbImage};

    use super::*;

    fn picture(format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let noise =
            RgbImage::from_fn(61, 47, |x, y| image::Rgb([(x * 7 + y * 13) as u8, (x ^ y) as u8, y as u8]));
        DynamicImage::from(noise).write_to(&mut bytes, format).expect("picture");
        bytes.into_inner()
    }

    fn all() -> [(Kind, Vec<u8>); 4] {
        [
            (Kind::Jpeg, picture(ImageFormat::Jpeg)),
            (Kind::Png, picture(ImageFormat::Png)),
            (Kind::Webp, picture(ImageFormat::WebP)),
            (Kind::Pdf, b"%PDF-1.7\n1 0 obj\nendobj\ntrailer\n%%EOF".to_vec()),
        ]
    }

    fn refused(bytes: &[u8]) -> &'static str {
        check(bytes).expect_err("refused").code
    }

    #[test]
    fn whole_files_are_what_they_are() {
        for (kind, bytes) in all() {
            assert_eq!(check(&bytes), Ok(kind));
            let trailed = [&bytes[..], b"\n"].concat();
            assert_eq!(check(&trailed), Ok(kind), "some cameras leave more after the end");
        }
        let read = [jpeg(&all()[0].1), png(&all()[1].1), webp(&all()[2].1)];
        for picture in read.map(|picture| picture.expect("read")) {
            assert_eq!((picture.width, picture.height), (61, 47));
        }
    }

    #[test]
    fn no_part_of_a_file_passes_for_the_whole() {
        for (kind, bytes) in all() {
            for cut in 0..bytes.len() {
                assert!(check(&bytes[..cut]).is_err(), "{kind:?} cut at {cut} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn damaged_files_end_in_an_answer() {
        for (_, bytes) in all() {
            for at in 0..bytes.len().min(400) {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut damaged = bytes.clone();
                    damaged[at] = value;
                    let _ = check(&damaged);
                }
            }
        }
    }

    #[test]
    fn a_picture_that_would_fill_the_memory_is_refused_by_its_header() {
        let mut png = picture(ImageFormat::Png);
        png[16..20].copy_from_slice(&30_000u32.to_be_bytes());
        png[20..24].copy_from_slice(&30_000u32.to_be_bytes());
        assert_eq!(refused(&png), "kyc.file_pixels");
        png[16..24].copy_from_slice(&[0xff; 8]);
        assert_eq!(refused(&png), "kyc.file_pixels", "the largest there is");
        png[16..20].copy_from_slice(&0u32.to_be_bytes());
        assert_eq!(refused(&png), "kyc.file_broken");
        let mut jpeg = picture(ImageFormat::Jpeg);
        let frame = jpeg.windows(2).position(|pair| matches!(pair, [0xff, 0xc0..=0xc2])).expect("a frame");
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0x75, 0x30, 0x75, 0x30]);
        assert_eq!(refused(&jpeg), "kyc.file_pixels");
    }

    #[test]
    fn other_types_are_refused_whatever_they_are_called() {
        for other in [
            &b""[..],
            b"GIF89a\x01\0\x01\0",
            b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
            b"<!doctype html><script>alert(1)</script>",
            b"MZ\x90",
            b" %PDF-1.7 %%EOF",
        ] {
            assert_eq!(refused(other), "kyc.file_type");
        }
        assert_eq!(refused(&vec![0xff; MOST_BYTES + 1]), "kyc.file_too_large");
        let mut webp = picture(ImageFormat::WebP);
        let header = [b"VP8X", &10u32.to_le_bytes()[..], &[0x02, 0, 0, 0, 60, 0, 0, 46, 0, 0]].concat();
        webp.splice(12..12, header);
        let size = u32::try_from(webp.len() - 8).expect("size");
        webp[4..8].copy_from_slice(&size.to_le_bytes());
        assert_eq!(refused(&webp), "kyc.file_type", "animated");
    }
}
