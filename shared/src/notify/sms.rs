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
    word_ends
        .filter(|end| *end > 0)
        .chain(any_ends)
        .find_map(shortened)
        .unwrap_or_else(|| cut(&format!("{head}{tail}")))
}

/// As much of `text` as fits.
fn cut(text: &str) -> String {
    let ends = text.char_indices().rev().map(|(end, _)| end);
    let end = std::iter::once(text.len()).chain(ends).find(|end| fits(&text[..*end])).unwrap_or_default();
    text[..end].to_owned()
}

fn fits(text: &str) -> bool {
    segments(text) <= MAX_SEGMENTS
}
