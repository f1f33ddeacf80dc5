//! Objects sealed at rest: the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015) over
//! AES-256-GCM. Chunks of 64 KiB, each under a nonce of its number and of whether it is the last, so that
//! chunks that are changed, left out, put in another order or cut off do not open. Each object has a key of
//! its own, so no nonce comes twice; the upload's id is bound to every chunk.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use crate::error::{Error, Result};

/// Bytes of a chunk.
pub const CHUNK: usize = 64 * 1024;
/// Bytes that sealing adds to a chunk.
pub const TAG: usize = 16;

/// What does not open: another key, or not what was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed object does not open: it was changed, cut off, or sealed by another key")]
pub struct Broken;

struct Chunks {
    key: LessSafeKey,
    upload_id: Uuid,
    next: u32,
    waiting: BytesMut,
}

impl Chunks {
    fn new(key: &[u8; 32], upload_id: Uuid) -> Result<Self> {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(Error::internal)?);
        Ok(Self { key, upload_id, next: 0, waiting: BytesMut::new() })
    }

    /// Seven zeros, the chunk's number, whether it is the last. None: there are no more numbers.
    fn nonce(&mut self, last: bool) -> Option<Nonce> {
        let mut nonce = [0; 12];
        nonce[7..11].copy_from_slice(&self.next.to_be_bytes());
        nonce[11] = u8::from(last);
        self.next = self.next.checked_add(1)?;
        Some(Nonce::assume_unique_for_key(nonce))
    }
}

/// Seals what comes, chunk by chunk.
pub struct Sealer(Chunks);

impl Sealer {
    /// For one object.
    ///
    /// # Errors
    /// A defect.
    pub fn new(key: &[u8; 32], upload_id: Uuid) -> Result<Self> {
        Ok(Self(Chunks::new(key, upload_id)?))
    }

    /// What can be sealed of all that came so far: a chunk waits until it is known not to be the last.
    ///
    /// # Errors
    /// The object is larger than 256 TiB.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Bytes> {
        self.0.waiting.extend_from_slice(bytes);
        let mut sealed = BytesMut::new();
        while self.0.waiting.len() > CHUNK {
            let chunk = self.0.waiting.split_to(CHUNK);
            self.seal(chunk, false, &mut sealed)?;
        }
        Ok(sealed.freeze())
    }

    /// The last chunk.
    ///
    /// # Errors
    /// The object is larger than 256 TiB.
    pub fn finish(mut self) -> Result<Bytes> {
        let (chunk, mut sealed) = (self.0.waiting.split(), BytesMut::new());
        self.seal(chunk, true, &mut sealed)?;
        Ok(sealed.freeze())
    }

    fn seal(&mut self, mut chunk: BytesMut, last: bool, into: &mut BytesMut) -> Result<()> {
        let nonce = self.0.nonce(last).ok_or_else(|| Error::internal("too many chunks"))?;
        let aad = Aad::from(self.0.upload_id.as_bytes());
        let tag = self.0.key.seal_in_place_separate_tag(nonce, aad, &mut chunk).map_err(Error::internal)?;
        into.extend_from_slice(&chunk);
        into.extend_from_slice(tag.as_ref());
        Ok(())
    }
}

/// Opens what a [`Sealer`] made, in pieces of any size. What it gave before it failed was whole chunks of
/// the object; only [`Opener::finish`] says that it was all.
pub struct Opener(Chunks);

impl Opener {
    /// For one object.
    ///
    /// # Errors
    /// A defect.
    pub fn new(key: &[u8; 32], upload_id: Uuid) -> Result<Self> {
        Ok(Self(Chunks::new(key, upload_id)?))
    }

    /// What can be opened of all that came so far.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<Bytes, Broken> {
        self.0.waiting.extend_from_slice(bytes);
        let mut opened = BytesMut::new();
        while self.0.waiting.len() > CHUNK + TAG {
            let chunk = self.0.waiting.split_to(CHUNK + TAG);
            self.open(chunk, false, &mut opened)?;
        }
        Ok(opened.freeze())
    }

    /// The last chunk.
    ///
    /// # Errors
    /// [`Broken`]: also where something is missing at the end.
    pub fn finish(mut self) -> Result<Bytes, Broken> {
        let (chunk, mut opened) = (self.0.waiting.split(), BytesMut::new());
        self.open(chunk, true, &mut opened)?;
        Ok(opened.freeze())
    }

    fn open(&mut self, mut chunk: BytesMut, last: bool, into: &mut BytesMut) -> Result<(), Broken> {
        let nonce = self.0.nonce(last).ok_or(Broken)?;
        let aad = Aad::from(self.0.upload_id.as_bytes());
        let text = self.0.key.open_in_place(nonce, aad, &mut chunk).map_err(|_| Broken)?;
        into.extend_from_slice(text);
        Ok(())
    }
}

/// Seals an object that is here as a whole.
///
/// # Errors
/// A defect.
pub fn seal(key: &[u8; 32], upload_id: Uuid, bytes: &[u8]) -> Result<Bytes> {
    let mut sealer = Sealer::new(key, upload_id)?;
    let mut sealed = BytesMut::from(sealer.push(bytes)?);
    sealed.extend_from_slice(&sealer.finish()?);
    Ok(sealed.freeze())
}

/// Opens an object that is here as a whole.
///
/// # Errors
/// [`Broken`], as a defect.
pub fn open(key: &[u8; 32], upload_id: Uuid, sealed: &[u8]) -> Result<Bytes> {
    let mut opener = Opener::new(key, upload_id)?;
    let mut opened = BytesMut::from(opener.push(sealed).map_err(Error::internal)?);
    opened.extend_from_slice(&opener.finish().map_err(Error::internal)?);
    Ok(opened.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::random;

    const SIZES: [usize; 9] =
        [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + TAG, 3 * CHUNK - TAG, 3 * CHUNK + 17];

    fn text(size: usize) -> Vec<u8> {
        let [seed] = random::<1>();
        (0..size).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed) ^ (n >> 8) as u8).collect()
    }

    /// Cuts into pieces of chance sizes.
    fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let luck = u32::from_be_bytes(random::<4>()) as usize;
            let (piece, rest) = bytes.split_at((luck % (CHUNK + 99)).min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }

    fn opened(key: &[u8; 32], id: Uuid, sealed: &[u8]) -> Option<Vec<u8>> {
        open(key, id, sealed).ok().map(|bytes| bytes.to_vec())
    }

    #[test]
    fn what_comes_in_any_pieces_opens_in_any_pieces() {
        for size in SIZES {
            let (key, id, text) = (random(), crate::id::unguessable(), text(size));
            let mut sealer = Sealer::new(&key, id).expect("sealer");
            let mut sealed = Vec::new();
            for piece in pieces(&text) {
                sealed.extend_from_slice(&sealer.push(piece).expect("sealed"));
            }
            sealed.extend_from_slice(&sealer.finish().expect("sealed"));
            assert_eq!(sealed.len(), size + TAG * size.div_ceil(CHUNK).max(1), "{size}");
            assert_eq!(sealed, seal(&key, id, &text).expect("whole"), "{size}: pieces leave no trace");
            let mut opener = Opener::new(&key, id).expect("opener");
            let mut read = Vec::new();
            for piece in pieces(&sealed) {
                read.extend_from_slice(&opener.push(piece).expect("opened"));
            }
            read.extend_from_slice(&opener.finish().expect("opened"));
            assert_eq!(read, text, "{size}");
        }
    }

    #[test]
    fn nothing_but_the_whole_object_opens() {
        for size in SIZES {
            let (key, id, text) = (random(), crate::id::unguessable(), text(size));
            let sealed = seal(&key, id, &text).expect("sealed");
            assert_eq!(opened(&key, id, &sealed), Some(text), "{size}");
            // cut off anywhere, at the ends of chunks too
            let ends = (0..=sealed.len() / (CHUNK + TAG)).map(|n| n * (CHUNK + TAG));
            let chance = (0..8).map(|_| u32::from_be_bytes(random()) as usize % sealed.len());
            for end in ends.chain(chance).filter(|end| *end < sealed.len()) {
                assert_eq!(opened(&key, id, &sealed[..end]), None, "{size} cut at {end}");
            }
            // a bit turned, something put at the end
            for _ in 0..8 {
                let mut turned = sealed.to_vec();
                let at = u32::from_be_bytes(random()) as usize % turned.len();
                turned[at] ^= 1 << (random::<1>()[0] % 8);
                assert_eq!(opened(&key, id, &turned), None, "{size} turned at {at}");
            }
            assert_eq!(opened(&key, id, &[&sealed[..], &[0]].concat()), None, "{size}");
            assert_eq!(opened(&key, id, &[&sealed[..], &sealed[..]].concat()), None, "{size} twice");
            // another key, another upload
            assert_eq!(opened(&random(), id, &sealed), None, "{size}");
            assert_eq!(opened(&key, crate::id::unguessable(), &sealed), None, "{size}");
        }
    }

    #[test]
    fn chunks_keep_their_order() {
        let (key, id, text) = (random(), crate::id::unguessable(), text(3 * CHUNK + 5));
        let sealed = seal(&key, id, &text).expect("sealed");
        let chunks: Vec<&[u8]> = sealed.chunks(CHUNK + TAG).collect();
        for order in [[1, 0, 2, 3], [0, 2, 1, 3], [3, 0, 1, 2]] {
            let other: Vec<u8> = order.iter().flat_map(|n| chunks[*n]).copied().collect();
            assert_eq!(opened(&key, id, &other), None, "{order:?}");
        }
        let without: Vec<u8> = [0, 1, 3].iter().flat_map(|n| chunks[*n]).copied().collect();
        assert_eq!(opened(&key, id, &without), None, "one left out");
    }
}
