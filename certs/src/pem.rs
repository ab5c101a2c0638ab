//! Reading one PEM file, with everything that can be wrong about it.
//!
//! Called by [`dir`](mod@crate::dir), [`link`](crate::link) and [`public`](crate::public), which add the file's name and
//! what to do about it. What must stay true: a [`Fault`] quotes nothing of the file, since the file may be a key.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;

/// Bytes of a PEM file that are read: some thousand certificates. It keeps a mistaken path (`/dev/zero`) from
/// filling the memory.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What is wrong with one file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system refused to read it.
    #[error("cannot be read ({0})")]
    Unreadable(io::Error),
    /// Over 1 MiB.
    #[error("is larger than any PEM file should be (1 MiB)")]
    Large,
    /// Binary.
    #[error("is not PEM, which is text (DER can be converted with openssl)")]
    NotText,
    /// PEM sections that do not end, or are not base64.
    #[error("is damaged PEM")]
    Damaged,
    /// No certificate in it.
    #[error("holds no PEM certificate")]
    NoCertificate,
    /// No key in it.
    #[error("holds no PEM private key")]
    NoKey,
    /// PEM around something that is not X.509.
    #[error("holds a certificate that does not parse")]
    NotX509,
    /// A leaf where a CA belongs.
    #[error("holds a certificate that is not a CA's")]
    NotCa,
    /// A key that we cannot sign with.
    #[error("holds a private key of an unknown kind (ECDSA P-256 in PKCS#8 always works)")]
    StrangeKey,
}

/// The text of the file at `path`.
pub(crate) fn read(path: &Path) -> Result<String, Fault> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(Fault::Unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Fault::Large);
    }
    String::from_utf8(bytes).map_err(|_| Fault::NotText)
}

/// All certificates of a text, in order; at least one.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Fault::Damaged)?;
    if certificates.is_empty() { Err(Fault::NoCertificate) } else { Ok(certificates) }
}

/// All certificates of a text, in order; at least one; every one a CA's.
pub(crate) fn authorities(pem: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let certificates = certificates(pem)?;
    for certificate in &certificates {
        // A leaf taken for a root would make its holder a CA.
        if !x509(certificate)?.is_ca() {
            return Err(Fault::NotCa);
        }
    }
    Ok(certificates)
}

/// The first private key of a text.
pub(crate) fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| match error {
        PemError::NoItemsFound => Fault::NoKey,
        _ => Fault::Damaged,
    })
}

/// The fields of a certificate.
pub(crate) fn x509<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Fault> {
    match x509_parser::parse_x509_certificate(certificate) {
        Ok(([], x509)) => Ok(x509),
        Ok(_) | Err(_) => Err(Fault::NotX509),
    }
}

/// From when to when a certificate is valid.
pub(crate) fn validity(certificate: &X509Certificate<'_>) -> [SystemTime; 2] {
    let time = |at: i64| UNIX_EPOCH + Duration::from_secs(at.try_into().unwrap_or(0));
    let validity = certificate.validity();
    [time(validity.not_before.timestamp()), time(validity.not_after.timestamp())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_1_mib_is_read_and_one_byte_more_is_not() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), vec![b'a'; 1 << 20]).expect("written");
        assert_eq!(read(file.path()).expect("fits").len(), 1 << 20);
        std::fs::write(file.path(), vec![b'a'; (1 << 20) + 1]).expect("written");
        assert!(matches!(read(file.path()), Err(Fault::Large)));
    }

    #[test]
    fn what_is_not_pem_is_named_for_what_it_is() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), [0x30, 0x82, 0xff]).expect("written");
        assert!(matches!(read(file.path()), Err(Fault::NotText)));
        assert!(matches!(read(&file.path().join("x")), Err(Fault::Unreadable(_))));
        assert!(matches!(certificates("garbage"), Err(Fault::NoCertificate)));
        assert!(matches!(private_key("garbage"), Err(Fault::NoKey)));
        assert!(matches!(certificates("-----BEGIN CERTIFICATE-----\n!!\n"), Err(Fault::Damaged)));
        assert!(matches!(private_key("-----BEGIN PRIVATE KEY-----\nAAAA\n"), Err(Fault::Damaged)));
        let shell = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(authorities(shell), Err(Fault::NotX509)));
    }
}
