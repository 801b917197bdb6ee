//! How often something goes wrong.

use serde::{Deserialize, Serialize};

/// For how many calls a fault holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", untagged)]
pub enum Times {
    /// This many.
    Count(u32),
    /// Until it is taken away.
    #[serde(with = "forever")]
    Forever,
}

impl Times {
    /// Counts one use; whether any is left afterwards.
    pub fn spend(&mut self) -> bool {
        match self {
            Self::Count(left) => {
                *left = left.saturating_sub(1);
                *left > 0
            }
            Self::Forever => true,
        }
    }
}

impl Default for Times {
    fn default() -> Self {
        Self::Count(1)
    }
}

/// The word `forever`, which an untagged enum would otherwise write as null.
mod forever {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("forever")
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "forever" => Ok(()),
            _ => Err(de::Error::custom("a number or \"forever\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_serializes_as_a_number_or_forever() {
        for (times, text) in [(Times::Count(3), "3"), (Times::Forever, "\"forever\"")] {
            assert_eq!(serde_json::to_string(&times).expect("json"), text);
            assert_eq!(serde_json::from_str::<Times>(text).expect("json"), times);
        }
        assert!(serde_json::from_str::<Times>("\"never\"").is_err());
    }
}
