//! The stand-in while Redis does not answer: counts of this process alone, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts that one process remembers; about 100 bytes each.
const MOST: usize = 20_000;

/// What is counted since when, in milliseconds since 1970.
pub(super) trait Since {
    fn since(&self) -> i64;
}

/// Counts by name.
#[derive(Debug)]
pub(super) struct Local<K, V>(Mutex<HashMap<K, V>>);

impl<K, V> Default for Local<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Since> Local<K, V> {
    /// Changes what is kept under a name, at first `empty`. What began before `lapsed` may be forgotten.
    pub fn change<T>(&self, name: K, empty: V, lapsed: i64, change: impl FnOnce(&mut V) -> T) -> T {
        let mut kept = self.lock();
        if kept.len() >= MOST && !kept.contains_key(&name) {
            make_room(&mut kept, lapsed);
        }
        change(kept.entry(name).or_insert(empty))
    }

    /// Forgets a name.
    pub fn forget(&self, name: &K) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops what has lapsed; if nothing has, a sixteenth of the rest, so that a flood of addresses costs
/// neither memory nor a scan for each call.
fn make_room<K: Eq + Hash, V: Since>(kept: &mut HashMap<K, V>, lapsed: i64) {
    kept.retain(|_, counts| counts.since() > lapsed);
    if kept.len() >= MOST {
        let mut n = 0_usize;
        kept.retain(|_, _| {
            n += 1;
            !n.is_multiple_of(16)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Since for i64 {
        fn since(&self) -> i64 {
            *self
        }
    }

    #[test]
    fn memory_is_bounded_and_what_lapsed_goes_first() {
        let local = Local::default();
        for n in 0..MOST {
            local.change(n, if n.is_multiple_of(2) { 1 } else { 3 }, 0, |_| ());
        }
        local.change(MOST, 3, 2, |_| ());
        let kept = local.lock();
        assert_eq!(kept.len(), MOST / 2 + 1);
        assert!(kept.values().all(|since| *since == 3));
        drop(kept);
        for n in 0..3 * MOST {
            local.change(n, 3, 2, |_| ());
        }
        assert!(local.lock().len() <= MOST);
    }
}
