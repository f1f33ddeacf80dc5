//! What a picture is, by its content and without decoding it: which of the three types, how many pixels, whether
//! it moves, whether it is there to its end. Nothing is allocated that the file asks for. Each slice that takes
//! pictures has its own words for what is wrong with one.
//!
//! JPEG: ITU-T T.81, annex B. PNG: W3C PNG (third edition), 5 and 11. WebP: RFC 9649, 2.

/// Bytes that a picture may have as it is sent.
pub const MOST_BYTES: usize = 5 * 1024 * 1024;
/// Pixels that a picture may have.
pub const MOST_PIXELS: u64 = 40_000_000;

/// A type that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    Webp,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Jpeg, Self::Png, Self::Webp];

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }

    /// How names of such files end.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
        }
    }

    /// By the first bytes.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
            Some(Self::Jpeg)
        } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            Some(Self::Webp)
        } else {
            None
        }
    }
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is none of the three types.
    Type,
    /// It ends early, or its parts contradict each other.
    Broken,
    /// It holds more than one picture.
    Animated,
    /// It has more than [`MOST_PIXELS`].
    Pixels,
}

/// What the file is.
///
/// # Errors
/// What is wrong with it.
pub fn look(bytes: &[u8]) -> Result<Kind, Fault> {
    let kind = Kind::of(bytes).ok_or(Fault::Type)?;
    match kind {
        Kind::Jpeg => jpeg(bytes),
        Kind::Png => png(bytes),
        Kind::Webp => webp(bytes),
    }?;
    Ok(kind)
}

fn sized(width: u32, height: u32) -> Result<(), Fault> {
    match u64::from(width) * u64::from(height) {
        0 => Err(Fault::Broken),
        pixels if pixels > MOST_PIXELS => Err(Fault::Pixels),
        _ => Ok(()),
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Fault> {
    let part = at.checked_add(N).and_then(|end| bytes.get(at..end)).ok_or(Fault::Broken)?;
    part.try_into().map_err(|_| Fault::Broken)
}

/// Segment by segment to the end of the image.
fn jpeg(bytes: &[u8]) -> Result<(), Fault> {
    let (mut at, mut framed, mut scanned) = (2, false, false);
    loop {
        let [0xff] = array(bytes, at)? else { return Err(Fault::Broken) };
        at += 1;
        let [marker] = array(bytes, at)?;
        match marker {
            // fill before a marker
            0xff => continue,
            0xd9 if framed && scanned => return Ok(()),
            0x01 | 0xd0..=0xd7 => {
                at += 1;
                continue;
            }
            0x00 | 0xd8 | 0xd9 => return Err(Fault::Broken),
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes(array(bytes, at + 1)?));
        if length < 2 {
            return Err(Fault::Broken);
        }
        // frames, but for tables (C4), extensions (C8) and arithmetic conditions (CC)
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            let height = u16::from_be_bytes(array(bytes, at + 4)?);
            let width = u16::from_be_bytes(array(bytes, at + 6)?);
            sized(width.into(), height.into())?;
            framed = true;
        }
        at += 1 + length;
        if marker == 0xda {
            scanned = true;
            at = scan_end(bytes, at)?;
        }
    }
}

/// Where the coded data of a scan ends: at a marker that is neither a stuffed byte nor a restart.
fn scan_end(bytes: &[u8], from: usize) -> Result<usize, Fault> {
    let rest = bytes.get(from..).ok_or(Fault::Broken)?;
    let end =
        rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xd0..=0xd7 | 0xff));
    end.map(|end| from + end).ok_or(Fault::Broken)
}

/// Chunk by chunk to `IEND`.
fn png(bytes: &[u8]) -> Result<(), Fault> {
    let (mut at, mut first, mut data, mut animated) = (8, true, false, false);
    loop {
        let length = usize::try_from(u32::from_be_bytes(array(bytes, at)?)).map_err(|_| Fault::Broken)?;
        let kind: [u8; 4] = array(bytes, at + 4)?;
        if first != (&kind == b"IHDR") {
            return Err(Fault::Broken);
        }
        match &kind {
            b"IHDR" => {
                let (width, height) = (array(bytes, at + 8)?, array(bytes, at + 12)?);
                sized(u32::from_be_bytes(width), u32::from_be_bytes(height))?;
            }
            b"acTL" => animated = true,
            b"IDAT" => data = true,
            _ => {}
        }
        first = false;
        // length, type, data, check sum
        at = at.checked_add(12).and_then(|at| at.checked_add(length)).ok_or(Fault::Broken)?;
        if at > bytes.len() {
            return Err(Fault::Broken);
        }
        if &kind == b"IEND" {
            return match (data, animated) {
                (_, true) => Err(Fault::Animated),
                (true, false) => Ok(()),
                (false, false) => Err(Fault::Broken),
            };
        }
    }
}

/// Chunk by chunk to the end that the file's head names.
fn webp(bytes: &[u8]) -> Result<(), Fault> {
    let size = usize::try_from(u32::from_le_bytes(array(bytes, 4)?)).map_err(|_| Fault::Broken)?;
    let end = size.checked_add(8).filter(|end| *end <= bytes.len()).ok_or(Fault::Broken);
    let (mut at, mut data, mut animated) = (12, false, false);
    while at + 8 <= bytes.len().min(size.saturating_add(8)) {
        let kind: [u8; 4] = array(bytes, at)?;
        let length = usize::try_from(u32::from_le_bytes(array(bytes, at + 4)?)).map_err(|_| Fault::Broken)?;
        match &kind {
            b"VP8X" => {
                let [flags] = array(bytes, at + 8)?;
                animated |= flags & 0x02 != 0;
                let [a, b, c, d, e, f] = array(bytes, at + 12)?;
                sized(u32::from_le_bytes([a, b, c, 0]) + 1, u32::from_le_bytes([d, e, f, 0]) + 1)?;
            }
            b"VP8 " => {
                let [0x9d, 0x01, 0x2a] = array(bytes, at + 11)? else { return Err(Fault::Broken) };
                let (width, height) = (array(bytes, at + 14)?, array(bytes, at + 16)?);
                let side = |side| u32::from(u16::from_le_bytes(side) & 0x3fff);
                sized(side(width), side(height))?;
                data = true;
            }
            b"VP8L" => {
                let [0x2f] = array(bytes, at + 8)? else { return Err(Fault::Broken) };
                let bits = u32::from_le_bytes(array(bytes, at + 9)?);
                sized((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1)?;
                data = true;
            }
            b"ANIM" | b"ANMF" => animated = true,
            _ => {}
        }
        // to an even place
        at = at.checked_add(8 + length + length % 2).ok_or(Fault::Broken)?;
    }
    let end = end?;
    match (data, animated) {
        (_, true) => Err(Fault::Animated),
        // the last padding is left out by some
        (true, false) if at <= end + 1 => Ok(()),
        _ => Err(Fault::Broken),
    }
}

#[cfg(test)]
mod tests;
