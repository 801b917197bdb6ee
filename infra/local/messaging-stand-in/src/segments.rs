//! How many parts a text message is sent in, as carriers count (GSM 03.38, and UCS-2 for what it lacks).

/// In which alphabet a text message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// Seven bits a character, fourteen for a few.
    Gsm7,
    /// Sixteen bits, thirty-two outside the Basic Multilingual Plane.
    Ucs2,
}

const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

impl Alphabet {
    /// Units of a message alone, and of each part of a longer one, whose header takes room.
    const fn limits(self) -> (usize, usize) {
        match self {
            Self::Gsm7 => (160, 153),
            Self::Ucs2 => (70, 67),
        }
    }

    fn units(self, character: char) -> usize {
        match self {
            Self::Gsm7 if EXTENDED.contains(character) => 2,
            Self::Gsm7 => 1,
            Self::Ucs2 => character.len_utf16(),
        }
    }
}

/// The alphabet that a text needs, and the number of its segments. No character is divided between two segments.
#[must_use]
pub fn segments(text: &str) -> (Alphabet, usize) {
    let plain = text.chars().all(|character| BASIC.contains(character) || EXTENDED.contains(character));
    let alphabet = if plain { Alphabet::Gsm7 } else { Alphabet::Ucs2 };
    let (alone, part) = alphabet.limits();
    if text.chars().map(|character| alphabet.units(character)).sum::<usize>() <= alone {
        return (alphabet, 1);
    }
    let (mut count, mut used) = (1, 0);
    for units in text.chars().map(|character| alphabet.units(character)) {
        if used + units > part {
            (count, used) = (count + 1, 0);
        }
        used += units;
    }
    (alphabet, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: (Alphabet, usize)) {
        assert_eq!(segments(text), expected);
    }

    #[test]
    fn segments_are_counted_in_the_encoding_that_the_text_needs() {
        check("", (Alphabet::Gsm7, 1));
        check(&"a".repeat(160), (Alphabet::Gsm7, 1));
        check(&"a".repeat(161), (Alphabet::Gsm7, 2));
        check(&"a".repeat(307), (Alphabet::Gsm7, 3));
        check(&"€".repeat(80), (Alphabet::Gsm7, 1));
        check(&"€".repeat(81), (Alphabet::Gsm7, 2));
        // 76 pairs fill 152 of 153 units: a pair is not divided.
        check(&"€".repeat(153), (Alphabet::Gsm7, 3));
        check("’", (Alphabet::Ucs2, 1));
        check(&"’".repeat(71), (Alphabet::Ucs2, 2));
        check(&"😀".repeat(35), (Alphabet::Ucs2, 1));
        check(&"😀".repeat(67), (Alphabet::Ucs2, 3));
    }
}
