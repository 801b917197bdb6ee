//! The certificate authorities in an image: Mozilla's, as `Cargo.lock` fixes them.
//!
//! The functions carry the same roots in their programs. The file is for programs that look in its usual place.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

/// Where the file is in the repository.
pub(crate) const PATH: &str = "infra/images/root/etc/ssl/certs/ca-certificates.crt";
/// RFC 7468.
const LINE: usize = 64;

/// All roots in PEM.
pub(crate) fn bundle() -> String {
    let mut pem = String::new();
    for certificate in TLS_SERVER_ROOT_CERTS {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut text = STANDARD.encode(certificate);
        while !text.is_empty() {
            let rest = text.split_off(text.len().min(LINE));
            pem.push_str(&text);
            pem.push('\n');
            text = rest;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_carry_the_locked_roots() {
        let file = include_str!("../../../../infra/images/root/etc/ssl/certs/ca-certificates.crt");
        assert!(file == bundle(), "renew {PATH} with: scripts/ops image --renew-roots");
    }
}
