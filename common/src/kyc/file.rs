//! What a file that somebody sent is, told by its content: a name and a declared type prove nothing. Pictures are
//! told by `upload::look`; scans may be PDF besides. Nothing is decoded, so that no file takes more memory than its
//! own bytes.

use crate::error::{Code, Refusal};
use crate::upload::look::{self, Fault, look};

pub use crate::upload::look::MOST_BYTES;

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
    /// A photograph, a screenshot or a scan.
    Picture(look::Kind),
    /// A scan of one or more pages.
    Pdf,
}

impl Kind {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        look::Kind::ALL.into_iter().map(Self::Picture).chain([Self::Pdf])
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Picture(kind) => kind.content_type(),
            Self::Pdf => "application/pdf",
        }
    }

    /// How names of such files end.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Picture(kind) => kind.ending(),
            Self::Pdf => "pdf",
        }
    }

    /// The kind with this media type.
    pub fn of(media_type: &str) -> Option<Self> {
        Self::all().find(|kind| kind.media_type() == media_type)
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
    if bytes.starts_with(b"%PDF-") {
        return pdf(bytes);
    }
    let kind = look(bytes).map_err(|fault| match fault {
        Fault::Type => TYPE.refuse("This is no JPEG, PNG, WebP or PDF file, whatever its name says."),
        Fault::Broken => BROKEN.refuse("The file ends early, or is damaged."),
        Fault::Animated => TYPE.refuse("An animated picture shows no document."),
        Fault::Pixels => PIXELS.refuse("The picture has more than 40 megapixels."),
    })?;
    Ok(Kind::Picture(kind))
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
    use super::*;

    const PDF: &[u8] = b"%PDF-1.7\n1 0 obj\nendobj\ntrailer\n%%EOF";

    #[test]
    fn kinds_are_read_back() {
        for kind in Kind::all() {
            assert_eq!(Kind::of(kind.media_type()), Some(kind));
        }
        assert_eq!(Kind::of("image/gif"), None);
    }

    #[test]
    fn a_pdf_is_one_to_its_end() {
        assert_eq!(check(PDF), Ok(Kind::Pdf));
        assert_eq!(check(&[PDF, b"\n"].concat()), Ok(Kind::Pdf));
        for cut in 0..PDF.len() {
            assert!(check(&PDF[..cut]).is_err(), "cut at {cut}");
        }
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
            assert_eq!(check(other).expect_err("refused").code, "kyc.file_type");
        }
        assert_eq!(check(&vec![0xff; MOST_BYTES + 1]).expect_err("refused").code, "kyc.file_too_large");
    }
}
