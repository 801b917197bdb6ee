//! What one process knows about the subjects of limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Forgetting costs a few commands, remembering costs memory for the life of the process.
const MAX_SUBJECTS: usize = 1_000;

/// Subjects by key, each with the record that was last seen in Redis. A check of a limit holds its subject's lock
/// meanwhile.
#[derive(Debug, Default)]
pub(super) struct Subjects(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<String>>>>>);

impl Subjects {
    pub(super) fn get(&self, key: &str) -> Arc<tokio::sync::Mutex<Option<String>>> {
        let mut subjects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subject) = subjects.get(key) {
            return Arc::clone(subject);
        }
        if subjects.len() >= MAX_SUBJECTS {
            // Those in use stay: two locks of one subject would not wait for each other.
            subjects.retain(|_, subject| Arc::strong_count(subject) > 1);
        }
        Arc::clone(subjects.entry(key.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_subjects_are_forgotten_when_there_are_too_many_and_busy_ones_never() {
        let subjects = Subjects::default();
        let busy = subjects.get("busy");
        for n in 0..3 * MAX_SUBJECTS {
            subjects.get(&n.to_string());
        }
        assert!(subjects.0.lock().unwrap().len() <= MAX_SUBJECTS + 1);
        assert!(Arc::ptr_eq(&busy, &subjects.get("busy")));
    }
}
