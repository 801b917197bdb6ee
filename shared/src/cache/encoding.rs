//! The text as which a value is stored in Redis.
//!
//! JSON; or, when it is long and shrinks, a mark and the base64 of LZ4 of that JSON. No JSON begins with the mark.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::CacheKey;

/// JSON up to this length is not worth compressing.
const PLAIN_BYTES: usize = 1024;
/// Longer values are not cached: they cost more than what they save.
const MAX_BYTES: usize = 1 << 20;
const LZ4: &str = "lz4:";

/// Nothing if the value is too long, or no JSON.
pub(super) fn encode<K: CacheKey>(value: &K::Value) -> Option<String> {
    let json = serde_json::to_string(value).ok().filter(|json| json.len() <= MAX_BYTES)?;
    if json.len() <= PLAIN_BYTES {
        return Some(json);
    }
    let mut compressed = LZ4.to_owned();
    STANDARD_NO_PAD.encode_string(lz4_flex::compress_prepend_size(json.as_bytes()), &mut compressed);
    Some(if compressed.len() < json.len() { compressed } else { json })
}

/// Nothing if the text is not of this form.
pub(super) fn decode<K: CacheKey>(text: &str) -> Option<K::Value> {
    let Some(compressed) = text.strip_prefix(LZ4) else { return serde_json::from_str(text).ok() };
    let compressed = STANDARD_NO_PAD.decode(compressed).ok()?;
    // The size comes from the text: rubbish must not reserve gigabytes.
    let (bytes, block) = lz4_flex::block::uncompressed_size(&compressed).ok()?;
    if bytes > MAX_BYTES {
        return None;
    }
    serde_json::from_slice(&lz4_flex::decompress(block, bytes).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    struct Ours;

    impl CacheKey for Ours {
        type Value = String;
        const TIME_TO_LIVE: Duration = Duration::from_mins(1);
        fn scope(&self) -> String {
            String::new()
        }
    }

    /// A value whose JSON has that length.
    fn value(json_bytes: usize) -> String {
        "a".repeat(json_bytes - 2)
    }

    #[test]
    fn only_what_is_long_is_compressed() {
        assert!(encode::<Ours>(&value(PLAIN_BYTES)).unwrap().starts_with('"'));
        let compressed = encode::<Ours>(&value(PLAIN_BYTES + 1)).unwrap();
        assert!(compressed.starts_with(LZ4) && compressed.len() < 100, "{compressed}");
    }

    #[test]
    fn what_is_too_long_is_not_cached() {
        assert!(encode::<Ours>(&value(MAX_BYTES)).is_some());
        assert!(encode::<Ours>(&value(MAX_BYTES + 1)).is_none());
    }

    #[test]
    fn a_claim_to_gigabytes_is_rubbish() {
        let mut block = u32::MAX.to_le_bytes().to_vec();
        block.extend_from_slice(&[0; 16]);
        assert_eq!(decode::<Ours>(&format!("{LZ4}{}", STANDARD_NO_PAD.encode(block))), None);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(text in ".{0,3000}") {
            let encoded = encode::<Ours>(&text).unwrap();
            prop_assert_eq!(decode::<Ours>(&encoded), Some(text));
        }

        #[test]
        fn rubbish_is_nothing(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode::<Numbers>(&text), None);
            let _ = decode::<Ours>(&format!("{LZ4}{}", STANDARD_NO_PAD.encode(bytes)));
        }
    }

    struct Numbers;

    impl CacheKey for Numbers {
        type Value = Vec<u64>;
        const TIME_TO_LIVE: Duration = Duration::from_mins(1);
        fn scope(&self) -> String {
            String::new()
        }
    }
}
