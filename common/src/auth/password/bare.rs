//! Argon2id without a product around it: what sign-ins a second are measured against.

use std::time::{Duration, Instant};

use super::Cost;
use super::hash::{self, Memory};
use crate::error::{Error, Result};

/// Hashes a second over `threads` threads, each hashing for `span`: with memory of its own for each hash, as
/// the crate does by itself, or with memory that is `kept`.
///
/// # Errors
/// A cost that Argon2 does not take.
pub fn per_second(cost: Cost, threads: usize, span: Duration, kept: bool) -> Result<f64> {
    let started = Instant::now();
    let work = || -> Result<u64> {
        let (mut memory, mut done) = (Memory::default(), 0);
        while started.elapsed() < span {
            if !kept {
                memory = Memory::default();
            }
            hash::verify(&mut memory, cost, None, b"correct horse battery staple")?;
            done += 1;
        }
        Ok(done)
    };
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_fold(0, |sum, thread| {
            let done = thread.join().map_err(|_| Error::internal("a thread panicked"))??;
            Ok::<u64, Error>(sum + done)
        })
    })?;
    Ok(done as f64 / started.elapsed().as_secs_f64())
}
