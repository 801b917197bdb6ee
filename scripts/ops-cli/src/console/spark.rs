//! A line of bars, small enough for a row: how often something happened in equal parts of a time.

use std::fmt::Write as _;

/// Height of the highest bar, in units of the drawing.
const HEIGHT: i64 = 16;

/// The bars as the path of a drawing, one unit wide each: what happened at all is seen.
pub(super) fn path(bars: &[i64]) -> String {
    let most = bars.iter().copied().max().unwrap_or_default().max(1);
    let mut path = String::new();
    for (place, count) in bars.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = (count * HEIGHT / most).max(1);
        // Writing to a string does not fail.
        let _infallible = write!(path, "M{place}.5 {HEIGHT}v-{height}");
    }
    path
}

/// The same in words, oldest first.
pub(super) fn words(bars: &[i64]) -> String {
    let counts: Vec<_> = bars.iter().map(ToString::to_string).collect();
    format!("failed runs in {} equal parts, oldest first: {}", bars.len(), counts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_at_all_is_seen_and_what_did_not_is_not() {
        assert_eq!(path(&[0, 1, 1000]), "M1.5 16v-1M2.5 16v-16");
        assert_eq!(path(&[0, 0]), "");
        assert_eq!(words(&[0, 3]), "failed runs in 2 equal parts, oldest first: 0 3");
    }
}
