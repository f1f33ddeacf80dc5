//! Identifiers: time-ordered ones for rows, unguessable ones where holding the id is the right.

use chrono::{DateTime, Utc};
use uuid::{Builder, Uuid};

use crate::secret::random;

/// A UUIDv7 (RFC 9562): rows created later sort later.
pub fn ordered(at: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or_default();
    let mut tail: [u8; 10] = random();
    // sub-millisecond order: 12 bits of microseconds lead the random tail (RFC 9562, method 3)
    let fraction = at.timestamp_subsec_micros() % 1000 * 4096 / 1000;
    tail[0] = (fraction >> 8) as u8;
    tail[1] = fraction as u8;
    Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
}

/// 128 random bits. Not a UUID version: every bit is random.
pub fn unguessable() -> Uuid {
    Uuid::from_bytes(random())
}
