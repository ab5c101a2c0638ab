//! Who is at the other end of a link: the checks of a handshake, and the name that they vouch for.
//!
//! Called by [`Identity`](super::Identity), for its own leaf at load and for peers' in handshakes, so that what one
//! node accepts of itself is what others accept of it. [`peer_name`] is called by whoever has finished a handshake.
//!
//! What must stay true: chain, validity and role are checked for every peer. A relay's host name is not: an edge may
//! reach it by any address, and the private CA vouches for few.

use std::sync::Arc;

use proto::id::NodeName;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, Error, PeerIncompatible, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;

use crate::pem;

/// Why a peer's certificates name no node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerNameError {
    /// It showed none.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// It is not X.509, or has its names twice.
    #[error("the peer's certificate does not parse")]
    Malformed,
    /// No DNS name in it is a node's.
    #[error("the peer's certificate has no DNS name that is a node name")]
    Nameless,
}

/// The node that a peer is, by the leaf that it showed and the handshake has verified.
///
/// It is the first DNS name that is a node name; further ones are no aliases. Compare it for equality only.
///
/// # Errors
/// The peer is not one of ours, or its leaf is not from `certs issue`: end the link.
pub fn peer_name(certificates: &[CertificateDer<'_>]) -> Result<NodeName, PeerNameError> {
    let leaf = certificates.first().ok_or(PeerNameError::NoCertificate)?;
    let names = dns_names(leaf).ok_or(PeerNameError::Malformed)?;
    names.iter().find_map(|name| NodeName::parse(name).ok()).ok_or(PeerNameError::Nameless)
}

/// The DNS names of a certificate, in order, as they stand there.
///
/// Read without webpki, which skips names that no resolver could have; a node may be called `-` or `1`.
pub(super) fn dns_names(certificate: &CertificateDer<'_>) -> Option<Vec<String>> {
    let x509 = pem::x509(certificate).ok()?;
    let Some(extension) = x509.subject_alternative_name().ok()? else { return Some(Vec::new()) };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    Some(names.collect())
}

/// What a relay demands of edges: a chain to `roots`, valid now, for clientAuth.
pub(super) fn edge_verifier(
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
) -> Arc<dyn ClientCertVerifier> {
    WebPkiClientVerifier::builder_with_provider(roots, provider)
        .build()
        .expect("an identity has at least one root, and no revocation lists are given")
}

/// What an edge demands of relays: a chain to its roots, valid now, for serverAuth; and any host name.
#[derive(Debug)]
pub(super) struct RelayVerifier {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for RelayVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _host_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Links speak TLS 1.3 only, so nobody asks; were it to change, this is the safe answer.
        Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
