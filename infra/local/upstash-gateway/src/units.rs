//! Durations and shares as operators write them.

use std::time::Duration;

/// Text that is no duration or no share.
#[derive(Debug, thiserror::Error)]
pub enum InvalidUnit {
    /// Not a whole number with a unit.
    #[error("a duration is a whole number of ms, s or m, such as 500ms or 2s")]
    Duration,
    /// Not a number from 0 to 1.
    #[error("a share is a number from 0 to 1, such as 0.25")]
    Share,
}

/// Reads `500ms`, `2s` or `5m`.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidUnit> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number = digits.parse::<u32>().map_err(|_| InvalidUnit::Duration)?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number.into())),
        "s" => Ok(Duration::from_secs(number.into())),
        "m" => Ok(Duration::from_mins(number.into())),
        _ => Err(InvalidUnit::Duration),
    }
}

/// Reads a share, or a probability: from 0 (none, never) to 1 (all, always).
pub fn parse_share(text: &str) -> Result<f64, InvalidUnit> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or(InvalidUnit::Share)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse_duration, parse_share};

    #[test]
    fn parse_duration_requires_a_whole_number_and_a_unit() {
        let texts = ["500ms", "2s", "5m", "0s", "2", "s", "", "-1s", "1.5s", "2h"];
        let expected = [Some(500), Some(2_000), Some(300_000), Some(0), None, None, None, None, None, None];
        assert_eq!(
            texts.map(|text| parse_duration(text).ok()),
            expected.map(|ms| ms.map(Duration::from_millis))
        );
    }

    #[test]
    fn parse_share_accepts_zero_to_one() {
        let expected = [Some(0.0), Some(0.25), Some(1.0), None, None, None, None];
        assert_eq!(
            ["0", "0.25", "1", "50", "-0.1", "NaN", "half"].map(|text| parse_share(text).ok()),
            expected
        );
    }
}
