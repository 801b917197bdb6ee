//! What a telephone number and an e-mail address look like.

/// Digits of E.164, the country code included.
const E164_DIGITS: std::ops::RangeInclusive<usize> = 8..=15;
/// RFC 5321, 4.5.3.1.
const LONGEST_LOCAL_PART: usize = 64;
const LONGEST_DOMAIN: usize = 255;
const LONGEST_LABEL: usize = 63;

/// Whether this is a number as E.164 writes it: a plus sign, no zero first, digits only.
pub(crate) fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        E164_DIGITS.contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0')
    })
}

/// Whether this is a mailbox of RFC 5321 with an unquoted local part and a domain of at least two labels.
pub(crate) fn is_email(address: &str) -> bool {
    address.rsplit_once('@').is_some_and(|(local, domain)| is_local_part(local) && is_domain(domain))
}

fn is_local_part(local: &str) -> bool {
    let atext = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    local.len() <= LONGEST_LOCAL_PART
        && local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(atext))
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.len() <= LONGEST_DOMAIN && domain.contains('.') && domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(is: fn(&str) -> bool, right: &[&str], wrong: &[&str]) {
        for value in right {
            assert!(is(value), "{value} is right");
        }
        for value in wrong {
            assert!(!is(value), "{value} is wrong");
        }
    }

    #[test]
    fn a_number_has_a_plus_sign_and_up_to_fifteen_digits() {
        check(
            is_e164,
            &["+15005550006", "+442079460123", "+123456789012345"],
            &["15005550006", "+0123456789", "+1 500 555 0006", "+1234567890123456", "+", "", "+12a45678"],
        );
    }

    #[test]
    fn an_address_has_a_dot_atom_and_a_domain() {
        check(
            is_email,
            &["ada@example.test", "a.b+c@mail.example.test", "o'hara@example.test"],
            &[
                "ada",
                "@example.test",
                "ada@",
                "a..b@example.test",
                "a b@example.test",
                "ada@localhost",
                "ada@-x.test",
            ],
        );
    }
}
