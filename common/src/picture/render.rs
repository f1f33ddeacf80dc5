//! From a picture as it was sent to the two that are shown: upright, on white where it is see-through, as JPEG,
//! with nothing of what the camera or an editor wrote beside it.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, ImageResult, Limits, Rgb, RgbImage};

use super::{MOST_PIXELS, Size};
use crate::upload::look::Kind;

/// Of the JPEGs.
const QUALITY: u8 = 85;
/// The most memory that decoding may take: 40 megapixels of 8 bytes, and as much again for what lies between.
const MOST_MEMORY: u64 = 640 * 1024 * 1024;
/// What is larger is made smaller roughly first: good sampling of tens of megapixels takes long.
const ROUGH: u32 = 4 * 512;

/// The large one and the small one. None: the file is not what its head said.
pub fn sizes(bytes: &[u8]) -> Option<[Vec<u8>; 2]> {
    let upright = upright(bytes).ok()??;
    let mut made = Vec::new();
    for size in [Size::Large, Size::Small] {
        made.push(jpeg(&fit(&upright, size.pixels())).ok()?);
    }
    made.try_into().ok()
}

fn format(kind: Kind) -> ImageFormat {
    match kind {
        Kind::Jpeg => ImageFormat::Jpeg,
        Kind::Png => ImageFormat::Png,
        Kind::Webp => ImageFormat::WebP,
    }
}

fn upright(bytes: &[u8]) -> ImageResult<Option<RgbImage>> {
    let Some(kind) = Kind::of(bytes) else { return Ok(None) };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format(kind));
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Ok(None);
    }
    // one that does not read turns nothing
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder)?;
    if width.max(height) > ROUGH {
        picture = picture.thumbnail(ROUGH, ROUGH);
    }
    picture.apply_orientation(orientation);
    Ok(Some(on_white(picture)))
}

fn on_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let picture = picture.into_rgba8();
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [r, g, b, a] = picture.get_pixel(x, y).0.map(u32::from);
        let over = |c: u32| u8::try_from((c * a + 255 * (255 - a) + 127) / 255).unwrap_or(u8::MAX);
        Rgb([over(r), over(g), over(b)])
    })
}

/// No side longer than `most`; a smaller picture stays as it is.
fn fit(picture: &RgbImage, most: u32) -> RgbImage {
    if picture.width().max(picture.height()) <= most {
        return picture.clone();
    }
    DynamicImage::from(picture.clone()).resize(most, most, FilterType::Lanczos3).into_rgb8()
}

fn jpeg(picture: &RgbImage) -> ImageResult<Vec<u8>> {
    let mut made = Vec::new();
    JpegEncoder::new_with_quality(&mut made, QUALITY).encode_image(picture)?;
    Ok(made)
}
