//! Text from elsewhere, made to fit a column.

/// At most `chars` characters, and none that Postgres refuses: it keeps no NUL.
#[must_use]
pub fn shortened(text: &str, chars: usize) -> String {
    text.chars().filter(|&char| char != '\0').take(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_loses_its_nuls() {
        assert_eq!(shortened("ab\0cä-", 4), "abcä");
    }
}
