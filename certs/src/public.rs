//! What an edge shows to browsers: its public certificate, and the TLS of its public doors.
//!
//! Called by `edge`. A [`Public`] is a checked pair; [`Files`] and [`Localhost`] are where pairs come from; [`Shown`] is
//! the one that handshakes show, changed while clients are connected.
//!
//! What must stay true: a pair that loads belongs together, names a host, and is valid at that moment; a change of the pair
//! concerns handshakes to come and no connection that is there; TLS 1.3 with ring's cryptography.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use ring::digest::{SHA256, digest};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};

use crate::mint::{MintError, SelfSigned};
use crate::pem::{self, Fault};
use crate::source::{Look, Seen, Source};

/// A certificate's SHA-256, as browsers take it in `serverCertificateHashes`.
pub type Hash = [u8; 32];

/// A public certificate with its chain and key. Cheap to clone.
#[derive(Clone)]
pub struct Public {
    certified_key: Arc<CertifiedKey>,
    hash: Hash,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// What an edge shows from now on.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The pair.
    pub shown: Public,
    /// Certificates that browsers may be told to trust without a CA: the one shown, and its successor. None for those
    /// that a CA vouches for.
    pub hashes: Vec<Hash>,
}

/// Why a pair cannot be shown. The operator must give other files; each message says which.
#[derive(Debug, thiserror::Error)]
pub enum PublicError {
    /// The certificate cannot be used.
    #[error("{file}: {fault}; --tls-cert wants the certificate and its chain, as PEM")]
    Cert {
        /// Which file.
        file: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The key cannot be used.
    #[error("{file}: {fault}; --tls-key wants the private key of --tls-cert, as PEM")]
    Key {
        /// Which file.
        file: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Two files, but not one pair.
    #[error("{key}: not the private key of the first certificate in {cert}")]
    KeyMismatch {
        /// Which key.
        key: String,
        /// Which certificate.
        cert: String,
    },
    /// No browser takes it.
    #[error("{0}: names no host (it has no subject alternative name), so that no browser takes it")]
    Nameless(String),
    /// Its time is over.
    #[error("{cert}: expired at {}", humantime::format_rfc3339_seconds(*.at))]
    Expired {
        /// Which certificate.
        cert: String,
        /// Since when.
        at: SystemTime,
    },
    /// Its time has not come.
    #[error("{cert}: not valid before {}; check this machine's clock, or wait", humantime::format_rfc3339_seconds(*.from))]
    Early {
        /// Which certificate.
        cert: String,
        /// From when on.
        from: SystemTime,
    },
    /// None could be made.
    #[error(transparent)]
    Mint(#[from] MintError),
}

impl Public {
    /// Checks a pair: `cert` is a leaf and its chain, `key` the leaf's key; each with what to call it in errors.
    fn examine(
        (cert, cert_pem): (String, Result<String, Fault>),
        (key, key_pem): (String, Result<String, Fault>),
        now: SystemTime,
    ) -> Result<Self, PublicError> {
        let in_cert = |fault| PublicError::Cert { file: cert.clone(), fault };
        let in_key = |fault| PublicError::Key { file: key.clone(), fault };
        let chain = cert_pem.and_then(|text| pem::certificates(&text)).map_err(in_cert)?;
        let key_der = key_pem.and_then(|text| pem::private_key(&text)).map_err(in_key)?;
        let provider = rustls::crypto::ring::default_provider();
        let signing_key =
            provider.key_provider.load_private_key(key_der).map_err(|_| in_key(Fault::StrangeKey))?;

        let leaf = pem::x509(&chain[0]).map_err(in_cert)?;
        let names = leaf.subject_alternative_name().map_err(|_| in_cert(Fault::NotX509))?;
        if names.is_none_or(|names| names.value.general_names.is_empty()) {
            return Err(PublicError::Nameless(cert));
        }
        let [not_before, not_after] = pem::validity(&leaf);
        if now < not_before {
            return Err(PublicError::Early { cert, from: not_before });
        }
        if now >= not_after {
            return Err(PublicError::Expired { cert, at: not_after });
        }
        let hash = digest(&SHA256, &chain[0]).as_ref().try_into().expect("SHA-256 has 32 bytes");
        let certified_key = Arc::new(CertifiedKey::new(chain, signing_key));
        if certified_key.keys_match().is_err() {
            return Err(PublicError::KeyMismatch { key, cert });
        }
        Ok(Self { certified_key, hash, not_before, not_after })
    }

    /// SHA-256 of the leaf's DER.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// From when on it is valid.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When it expires.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }
}

impl fmt::Debug for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Public").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// Two files, as an operator gives them.
#[derive(Debug, Clone)]
pub struct Files {
    cert: PathBuf,
    key: PathBuf,
    seen: Seen,
}

impl Files {
    /// The files `cert` (leaf and chain) and `key`.
    pub fn new(cert: PathBuf, key: PathBuf) -> Self {
        Self { cert, key, seen: Seen::default() }
    }
}

impl Source for Files {
    type Loaded = Offer;
    type Error = PublicError;

    fn look(&mut self, now: SystemTime) -> Look<Offer, PublicError> {
        let Self { cert, key, seen } = self;
        seen.look([cert, key], |[cert_pem, key_pem]| {
            let label = |path: &PathBuf| path.display().to_string();
            let shown = Public::examine((label(cert), cert_pem), (label(key), key_pem), now)?;
            Ok(Offer { shown, hashes: Vec::new() })
        })
    }
}

/// Where pairs come from, again and again.
#[derive(Debug, Clone)]
pub enum Pairs {
    /// Two files, as an operator gives them.
    Files(Files),
    /// Minted for this machine.
    Localhost(Localhost),
}

impl Source for Pairs {
    type Loaded = Offer;
    type Error = PublicError;

    fn look(&mut self, now: SystemTime) -> Look<Offer, PublicError> {
        match self {
            Self::Files(files) => files.look(now),
            Self::Localhost(localhost) => match localhost.look(now) {
                Look::Same => Look::Same,
                Look::New(offer) => Look::New(offer),
                Look::Refused(error) => Look::Refused(error.into()),
            },
        }
    }
}

/// Certificates for this machine alone, minted in memory, that browsers trust by their hashes.
///
/// ```text
/// day      0           6           12          18
/// first    shown────────|··         expires on day 14
/// second   told········ shown────────|··
/// third                 told········ shown────────|··
/// ```
///
/// A page that has fetched the hashes goes on to connect for at least six days without asking again: it knows the successor
/// of what it was shown. A certificate is never shown when it is older than twelve days, of the fourteen that browsers
/// grant.
#[derive(Debug, Clone, Default)]
pub struct Localhost {
    /// The one shown, since when, and its successor.
    current: Option<(SystemTime, Public, Public)>,
}

/// How long one is shown.
const SHOWN_FOR: Duration = Duration::from_secs(6 * 86_400);

impl Source for Localhost {
    type Loaded = Offer;
    type Error = MintError;

    fn look(&mut self, now: SystemTime) -> Look<Offer, MintError> {
        let (since, successor) = match self.current.take() {
            // A clock that was set back begins anew: nothing minted need be valid yet.
            Some((since, ..)) if now < since => (now, None),
            Some(current) if now < current.0 + SHOWN_FOR => {
                self.current = Some(current);
                return Look::Same;
            }
            Some((since, _, successor)) if now < since + 2 * SHOWN_FOR => {
                (since + SHOWN_FOR, Some(successor))
            }
            // The machine slept, and the successor has grown too old to be shown for long.
            Some(_) | None => (now, None),
        };
        match Self::minted(now, successor) {
            Ok([shown, next]) => {
                let hashes = vec![shown.hash(), next.hash()];
                self.current = Some((since, shown.clone(), next));
                Look::New(Offer { shown, hashes })
            }
            // The next look begins anew.
            Err(error) => Look::Refused(error),
        }
    }
}

impl Localhost {
    /// What is shown and what comes after it.
    fn minted(now: SystemTime, successor: Option<Public>) -> Result<[Public; 2], MintError> {
        let mint = || SelfSigned::localhost(now).map(|minted| minted.examined(now));
        let shown = successor.map_or_else(mint, Ok)?;
        Ok([shown, mint()?])
    }
}

impl SelfSigned {
    fn examined(self, now: SystemTime) -> Public {
        let (cert, key) = ("the minted certificate".to_owned(), "its key".to_owned());
        Public::examine((cert, Ok(self.cert_pem)), (key, Ok(self.key_pem)), now)
            .expect("what was minted just now is a pair, has names and is valid")
    }
}

/// The pair that handshakes show.
#[derive(Debug)]
pub struct Shown {
    offer: RwLock<Offer>,
}

impl Shown {
    /// Shows `offer`.
    pub fn new(offer: Offer) -> Arc<Self> {
        Arc::new(Self { offer: RwLock::new(offer) })
    }

    /// Shows `offer` from the next handshake on.
    pub fn change(&self, offer: Offer) {
        *self.offer.write().expect(NOBODY_PANICS) = offer;
    }

    /// What is shown now.
    pub fn offer(&self) -> Offer {
        self.offer.read().expect(NOBODY_PANICS).clone()
    }

    /// How a door speaks TLS 1.3: whoever comes is shown the pair of that moment, and speaks one of `protocols` (ALPN).
    pub fn server_config(self: &Arc<Self>, protocols: &[&[u8]]) -> ServerConfig {
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(&[&version::TLS13])
                .expect("ring's cipher suites include those of TLS 1.3")
                .with_no_client_auth()
                .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.offer.read().expect(NOBODY_PANICS).shown.certified_key))
    }
}

const NOBODY_PANICS: &str = "no code that holds this lock can panic";

#[cfg(test)]
mod tests;
