//! How text messages are cut into segments, which is what they cost.
//!
//! Source: 3GPP TS 23.038 (alphabets) and 23.040 (concatenation: a header takes 7 septets, or 6 octets, of each part).

/// Longest message that is sent.
pub const MAX_SEGMENTS: usize = 2;

/// The default alphabet of GSM: one septet each.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZ\
                     ÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Its extension: an escape and another septet, which no segment's end may part.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// The alphabet of a message: one character beyond GSM's makes all of it UCS-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// Seven bits a character.
    Gsm7,
    /// UTF-16 code units.
    Ucs2,
}

impl Alphabet {
    /// The alphabet that `text` is sent in.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let is_gsm = |c: char| BASIC.contains(c) || EXTENSION.contains(c);
        if text.chars().all(is_gsm) { Self::Gsm7 } else { Self::Ucs2 }
    }

    /// Units that a message of one segment holds, and each segment of a longer one.
    const fn capacity(self) -> (usize, usize) {
        match self {
            Self::Gsm7 => (160, 153),
            Self::Ucs2 => (70, 67),
        }
    }

    /// Units of a character; no segment's end may part them.
    fn units(self, c: char) -> usize {
        match self {
            Self::Gsm7 if EXTENSION.contains(c) => 2,
            Self::Gsm7 => 1,
            Self::Ucs2 => c.len_utf16(),
        }
    }

    const fn ellipsis(self) -> &'static str {
        match self {
            Self::Gsm7 => "...",
            Self::Ucs2 => "…",
        }
    }
}

/// Segments of a message.
#[must_use]
pub fn segments(text: &str) -> usize {
    let alphabet = Alphabet::of(text);
    let (alone, each) = alphabet.capacity();
    let units = || text.chars().map(|c| alphabet.units(c));
    if units().sum::<usize>() <= alone {
        return 1;
    }
    let (full, _) = units().fold((1, 0), |(segments, used), units| {
        if used + units <= each { (segments, used + units) } else { (segments + 1, units) }
    });
    full
}

/// `head`, `body` and `tail` in [`MAX_SEGMENTS`]: if they are longer, `body` ends at a word, or inside its first when
/// that alone is too long, and an ellipsis says so.
#[must_use]
pub(super) fn fit(head: &str, body: &str, tail: &str) -> String {
    let whole = format!("{head}{body}{tail}");
    if fits(&whole) {
        return whole;
    }
    let shortened = |end: usize| {
        let kept = body[..end].trim_end();
        let plain = format!("{head}{kept}{tail}");
        let ellipsis = Alphabet::of(&plain).ellipsis();
        Some(format!("{head}{kept}{ellipsis}{tail}")).filter(|text| fits(text))
    };
    let word_ends = body.char_indices().rev().filter(|(_, c)| c.is_whitespace()).map(|(end, _)| end);
    let any_ends = body.char_indices().rev().map(|(end, _)| end);
    word_ends.filter(|end| *end > 0).chain(any_ends).find_map(shortened).unwrap_or_else(|| cut(head, tail))
}

/// As much of `head` as fits before `tail`; a `tail` that does not fit at all is cut, too.
fn cut(head: &str, tail: &str) -> String {
    let starts = |text: &str| -> Vec<usize> {
        std::iter::once(text.len()).chain(text.char_indices().rev().map(|(end, _)| end)).collect()
    };
    let with_head = starts(head).into_iter().map(|end| format!("{}{tail}", &head[..end]));
    let tail_alone = starts(tail).into_iter().map(|end| tail[..end].to_owned());
    with_head.chain(tail_alone).find(|text| fits(text)).unwrap_or_default()
}

fn fits(text: &str) -> bool {
    segments(text) <= MAX_SEGMENTS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, alphabet: Alphabet, expected: usize) {
        assert_eq!((Alphabet::of(text), segments(text)), (alphabet, expected), "{text}");
    }

    #[test]
    fn a_message_of_one_segment_holds_more_than_each_part_of_a_longer_one() {
        check("", Alphabet::Gsm7, 1);
        check(&"a".repeat(160), Alphabet::Gsm7, 1);
        check(&"a".repeat(161), Alphabet::Gsm7, 2);
        check(&"a".repeat(306), Alphabet::Gsm7, 2);
        check(&"a".repeat(307), Alphabet::Gsm7, 3);
        check(&"ж".repeat(70), Alphabet::Ucs2, 1);
        check(&"ж".repeat(71), Alphabet::Ucs2, 2);
        check(&"ж".repeat(134), Alphabet::Ucs2, 2);
        check(&"ж".repeat(135), Alphabet::Ucs2, 3);
    }

    #[test]
    fn an_escaped_character_and_a_surrogate_pair_are_never_parted() {
        check(&"€".repeat(80), Alphabet::Gsm7, 1);
        // 76 pairs fill 152 of 153 septets.
        check(&"€".repeat(152), Alphabet::Gsm7, 2);
        check(&"€".repeat(153), Alphabet::Gsm7, 3);
        check(&"🙂".repeat(35), Alphabet::Ucs2, 1);
        // 33 pairs fill 66 of 67 units.
        check(&"🙂".repeat(66), Alphabet::Ucs2, 2);
        check(&"🙂".repeat(67), Alphabet::Ucs2, 3);
    }

    #[test]
    fn the_end_is_told_in_the_alphabet_that_is_left() {
        let words = |word: &str, times| [word].repeat(times).join(" ");
        let gsm = fit("", &words("word", 100), " link");
        assert!(gsm.ends_with("word... link"), "{gsm}");
        let ucs2 = fit("", &words("слово", 100), " link");
        assert!(ucs2.ends_with("слово… link"), "{ucs2}");
        let foreign_end = fit("", &format!("{} слово", words("word", 100)), " link");
        assert_eq!(segments(&foreign_end), MAX_SEGMENTS);
        assert!(foreign_end.ends_with("word... link"), "{foreign_end}");
    }

    #[test]
    fn a_word_that_is_too_long_is_cut_and_so_is_what_leaves_no_room_for_words() {
        assert_eq!(fit("head ", &"a".repeat(400), " tail"), format!("head {}... tail", "a".repeat(293)));
        assert_eq!(fit(&"h".repeat(400), "body", "tail"), format!("{}tail", "h".repeat(302)));
        assert_eq!(fit("head", "body", &"t".repeat(400)), "t".repeat(306));
    }

    /// The fewest parts that the text can be cut into, by trying all ways.
    fn fewest_parts(text: &str) -> usize {
        let gsm = text.chars().all(|c| BASIC.contains(c) || EXTENSION.contains(c));
        let units: Vec<usize> = text
            .chars()
            .map(|c| if gsm { 1 + usize::from(EXTENSION.contains(c)) } else { c.len_utf16() })
            .collect();
        let (alone, each) = if gsm { (160, 153) } else { (70, 67) };
        if units.iter().sum::<usize>() <= alone {
            return 1;
        }
        let mut fewest = vec![0];
        for end in 1..=units.len() {
            let starts = (0..end).rev().take_while(|start| units[*start..end].iter().sum::<usize>() <= each);
            fewest.push(starts.map(|start| fewest[start] + 1).min().expect("a character fits"));
        }
        fewest[units.len()]
    }

    fn text(longest: usize) -> impl Strategy<Value = String> {
        let c = prop_oneof![
            20 => prop::char::range('a', 'z'),
            4 => Just(' '),
            2 => prop::sample::select(EXTENSION.chars().collect::<Vec<_>>()),
        ];
        let foreign = prop_oneof![Just('ж'), Just('🙂'), Just('…'), any::<char>()];
        (prop::collection::vec(c, 0..longest), prop::option::of((foreign, any::<prop::sample::Index>())))
            .prop_map(|(mut text, foreign)| {
                if let Some((foreign, place)) = foreign {
                    text.insert(place.index(text.len() + 1), foreign);
                }
                text.into_iter().collect()
            })
    }

    proptest! {
        #[test]
        fn segments_are_as_few_as_can_be(text in text(500)) {
            prop_assert_eq!(segments(&text), fewest_parts(&text));
        }

        #[test]
        fn a_shortened_message_keeps_as_many_words_as_fit(body in text(500), tail in text(20)) {
            let fitted = fit("Hello ", &body, &tail);
            prop_assert!(segments(&fitted) <= MAX_SEGMENTS);
            let whole = format!("Hello {body}{tail}");
            if segments(&whole) <= MAX_SEGMENTS {
                prop_assert_eq!(&fitted, &whole);
            } else {
                let after_words = (1..body.len())
                    .filter(|end| body.is_char_boundary(*end) && body[*end..].starts_with(char::is_whitespace))
                    .map(|end| format!("Hello {}", body[..end].trim_end()));
                let ended = after_words.flat_map(|kept| [format!("{kept}...{tail}"), format!("{kept}…{tail}")]);
                let best = ended.filter(|text| segments(text) <= MAX_SEGMENTS).map(|text| text.chars().count()).max();
                if let Some(best) = best {
                    // An ellipsis of GSM's alphabet is two characters longer.
                    prop_assert!(fitted.chars().count() + 2 >= best, "{} {}", fitted, best);
                }
                prop_assert!(fitted.ends_with(&tail));
            }
        }
    }
}
