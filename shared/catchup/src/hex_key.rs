//! Keys as 64 hexadecimal digits.

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;

/// The key; `None` for anything but 64 hexadecimal digits.
pub(crate) fn read(hex: &str) -> Option<[u8; KEY_BYTES]> {
    if hex.len() != 2 * KEY_BYTES || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0_u8; KEY_BYTES];
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(key)
}
