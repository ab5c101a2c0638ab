//! What an edge or a relay brings to a handshake: its [`Identity`].
//!
//! Called by `edge`, `relay` and `causeway dev` at their start; they give the configurations to QUIC. The clock is
//! read here, at load, and by rustls in handshakes.
//!
//! What must stay true: an identity that loads is one that a peer of the other role accepts, at that moment; TLS 1.3
//! with ring's cryptography on both sides, whatever else the process does; the key leaves only as what
//! [`Identity::derive`] makes of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::id::NodeName;
use ring::hkdf;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig, version};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

pub use self::verify::{PeerNameError, peer_name};
use crate::mint::{Authority, LEAF_VALIDITY, MintError};
use crate::pem::{self, Fault};
use crate::source::{Look, Seen, Source};
use crate::{Role, Roles};

mod verify;

/// Who a node is on its links: the CA's roots, its own chain and key, and its name. Cheap to clone.
///
/// # Invariants
/// The key is the leaf's, the leaf was valid for the roots and the role when it was loaded, and `name` is its first
/// DNS name.
#[derive(Clone)]
pub struct Identity {
    name: NodeName,
    role: Role,
    not_before: SystemTime,
    not_after: SystemTime,
    roots: Arc<RootCertStore>,
    certified_key: Arc<CertifiedKey>,
    secret: hkdf::Prk,
    provider: Arc<CryptoProvider>,
}

/// Why three files are nobody's identity. The operator must give other files; each message says which.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The roots cannot be used.
    #[error("{file}: {fault}; --link-ca wants the ca.pem that `certs init DIR` wrote")]
    Ca {
        /// Which file.
        file: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The leaf cannot be used.
    #[error("{file}: {fault}; --link-cert wants the NAME.pem that `certs issue DIR --name NAME` wrote")]
    Cert {
        /// Which file.
        file: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The key cannot be used.
    #[error("{file}: {fault}; --link-key wants the NAME.key that `certs issue DIR --name NAME` wrote")]
    Key {
        /// Which file.
        file: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Two files, but not one leaf.
    #[error(
        "{key}: not the private key of {cert}; give both files of one `certs issue` (if they were being renewed just \
         now, try again)"
    )]
    KeyMismatch {
        /// Which key.
        key: String,
        /// Which leaf.
        cert: String,
    },
    /// The leaf is of another CA.
    #[error(
        "{cert}: not signed by a CA in {ca}; issue it with that CA, or give the ca.pem of the CA that issued it"
    )]
    Stranger {
        /// Which leaf.
        cert: String,
        /// Which roots.
        ca: String,
    },
    /// The leaf's time is over.
    #[error("{cert}: expired at {}; renew it: `certs issue DIR --name NAME`", humantime::format_rfc3339_seconds(*.at))]
    Expired {
        /// Which leaf.
        cert: String,
        /// Since when.
        at: SystemTime,
    },
    /// The leaf's time has not come.
    #[error(
        "{cert}: not valid before {}; check this machine's clock, or wait",
        humantime::format_rfc3339_seconds(*.from)
    )]
    Early {
        /// Which leaf.
        cert: String,
        /// From when on.
        from: SystemTime,
    },
    /// The leaf may not be what the node is.
    #[error(
        "{cert}: not for a node of role {role} (its extended key usage lacks {}); issue one that is: `certs issue DIR \
         --name NAME --role {role}`",
        .role.key_usage()
    )]
    WrongRole {
        /// Which leaf.
        cert: String,
        /// The role that it lacks.
        role: Role,
    },
    /// The leaf names no node.
    #[error(
        "{cert}: its first DNS name ({first:?}) is not a node name; issue one: `certs issue DIR --name NAME`"
    )]
    Nameless {
        /// Which leaf.
        cert: String,
        /// What stands there instead, if anything.
        first: Option<String>,
    },
    /// The leaf is refused for a reason that none of ours has.
    #[error("{cert}: {error}; issue a new one: `certs issue DIR --name NAME`")]
    Unfit {
        /// Which leaf.
        cert: String,
        /// What the verifier said.
        error: rustls::Error,
    },
}

/// The three files as texts, and what to call them.
struct Papers<'a> {
    ca: (String, &'a str),
    cert: (String, &'a str),
    key: (String, &'a str),
}

impl Identity {
    /// Reads and checks an identity for a node of `role`: `ca` holds one or more roots, `cert` a leaf and its chain,
    /// `key` the leaf's key.
    ///
    /// # Errors
    /// The operator must give other files: see [`IdentityError`].
    pub fn load(ca: &Path, cert: &Path, key: &Path, role: Role) -> Result<Self, IdentityError> {
        let texts = [ca, cert, key].map(pem::read);
        Self::of_files([ca, cert, key], texts, role, SystemTime::now())
    }

    fn of_files(
        [ca, cert, key]: [&Path; 3],
        [ca_pem, cert_pem, key_pem]: [Result<String, Fault>; 3],
        role: Role,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        let label = |path: &Path| path.display().to_string();
        let ca_pem = ca_pem.map_err(|fault| IdentityError::Ca { file: label(ca), fault })?;
        let cert_pem = cert_pem.map_err(|fault| IdentityError::Cert { file: label(cert), fault })?;
        let key_pem = key_pem.map_err(|fault| IdentityError::Key { file: label(key), fault })?;
        let papers =
            Papers { ca: (label(ca), &ca_pem), cert: (label(cert), &cert_pem), key: (label(key), &key_pem) };
        Self::examine(papers, role, now)
    }

    /// As [`Identity::load`], of texts.
    ///
    /// # Errors
    /// Whoever minted them must mint others: see [`IdentityError`].
    pub fn from_pem(ca_pem: &str, cert_pem: &str, key_pem: &str, role: Role) -> Result<Self, IdentityError> {
        Self::of_texts(ca_pem, cert_pem, key_pem, role, SystemTime::now())
    }

    fn of_texts(
        ca_pem: &str,
        cert_pem: &str,
        key_pem: &str,
        role: Role,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        let papers = Papers {
            ca: ("the CA's certificate".to_owned(), ca_pem),
            cert: ("the node's certificate".to_owned(), cert_pem),
            key: ("the node's key".to_owned(), key_pem),
        };
        Self::examine(papers, role, now)
    }

    fn examine(papers: Papers<'_>, role: Role, now: SystemTime) -> Result<Self, IdentityError> {
        let Papers { ca: (ca, ca_pem), cert: (cert, cert_pem), key: (key, key_pem) } = papers;
        let provider = Arc::new(rustls::crypto::ring::default_provider());

        let roots = roots(ca_pem).map_err(|fault| IdentityError::Ca { file: ca.clone(), fault })?;
        let in_cert = |fault| IdentityError::Cert { file: cert.clone(), fault };
        let chain = pem::certificates(cert_pem).map_err(in_cert)?;
        let [not_before, not_after] = pem::validity(&pem::x509(&chain[0]).map_err(in_cert)?);
        let in_key = |fault| IdentityError::Key { file: key.clone(), fault };
        let key_der = pem::private_key(key_pem).map_err(in_key)?;

        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, SECRET_SALT).extract(key_der.secret_der());
        let signing_key =
            provider.key_provider.load_private_key(key_der).map_err(|_| in_key(Fault::StrangeKey))?;
        let certified_key = Arc::new(CertifiedKey::new(chain, signing_key));
        if certified_key.keys_match().is_err() {
            return Err(IdentityError::KeyMismatch { key, cert });
        }

        let name = own_name(&certified_key.cert[0], &cert)?;
        let identity = Self { name, role, not_before, not_after, roots, certified_key, secret, provider };
        identity.verify_own(now).map_err(|error| refusal(error, cert, ca, role))?;
        Ok(identity)
    }

    /// Verifies the own leaf as a peer would.
    fn verify_own(&self, now: SystemTime) -> Result<(), rustls::Error> {
        let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        let (leaf, intermediates) =
            self.certified_key.cert.split_first().expect("a chain begins with a leaf");
        match self.role {
            Role::Edge => self.edge_verifier().verify_client_cert(leaf, intermediates, now).map(|_| ()),
            Role::Relay => {
                let host = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
                self.relay_verifier().verify_server_cert(leaf, intermediates, &host, &[], now).map(|_| ())
            }
        }
    }

    /// The node's name, by its leaf.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// From when on the leaf is valid.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When the leaf expires. Nobody accepts it in a new handshake from then on; links that are up stay.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// How an edge opens links: TLS 1.3 with its leaf, to any host that is a relay of this CA, speaking `alpn` only.
    pub fn client_config(&self, alpn: &[u8]) -> ClientConfig {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .expect(RING_SPEAKS_TLS13)
            .dangerous()
            .with_custom_certificate_verifier(self.relay_verifier())
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(self.certified_key.clone())));
        config.alpn_protocols = vec![alpn.to_vec()];
        // A resumed session would skip the checks of the first one, and a link is opened too rarely to gain by it.
        config.resumption = Resumption::disabled();
        config
    }

    /// How a relay accepts links: TLS 1.3 with its leaf, from edges of this CA only, speaking `alpn` only.
    pub fn server_config(&self, alpn: &[u8]) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .expect(RING_SPEAKS_TLS13)
            .with_client_cert_verifier(self.edge_verifier())
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(self.certified_key.clone())));
        config.alpn_protocols = vec![alpn.to_vec()];
        // As for edges: each link is checked anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config
    }

    /// 32 secret bytes for the use that `label` names, by HKDF-SHA-256 from the private key.
    ///
    /// The same key file and label give the same bytes, now and after a restart; another label, or a renewed leaf
    /// (which has a new key), gives others. It serves what must outlive a process without being stored, such as the
    /// keys of QUIC's stateless resets and connection ids. The bytes tell nothing about the private key, but are a
    /// secret themselves.
    pub fn derive(&self, label: &[u8]) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.secret
            .expand(&[label], hkdf::HKDF_SHA256)
            .and_then(|material| material.fill(&mut bytes))
            .expect("HKDF-SHA-256 gives 32 bytes at once");
        bytes
    }

    fn relay_verifier(&self) -> Arc<verify::RelayVerifier> {
        Arc::new(verify::RelayVerifier { roots: self.roots.clone(), provider: self.provider.clone() })
    }

    fn edge_verifier(&self) -> Arc<dyn rustls::server::danger::ClientCertVerifier> {
        verify::edge_verifier(self.roots.clone(), self.provider.clone())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Where a node's identity comes from, again and again.
#[derive(Debug, Clone)]
pub enum Identities {
    /// Three files, as an operator gives them.
    Files(IdentityFiles),
    /// Leaves of a CA in memory.
    Minted(Mint),
}

/// Why there is no other identity. The operator must act: each message says how.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The files cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// They are somebody else's. A node's name does not change while it runs.
    #[error(
        "{cert}: of the node {found}, and this one is {name}; issue one for it: `certs issue DIR --name {name}`"
    )]
    OtherNode {
        /// Which leaf.
        cert: String,
        /// Whose it is.
        found: NodeName,
        /// Who this is.
        name: NodeName,
    },
    /// None could be made.
    #[error(transparent)]
    Mint(#[from] MintError),
}

/// A node's three files.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
    role: Role,
    name: NodeName,
    seen: Seen,
}

/// A node's leaves, each made when the one before has a third of its life left.
#[derive(Debug, Clone)]
pub struct Mint {
    authority: Arc<Authority>,
    role: Role,
    name: NodeName,
    renew_at: Option<SystemTime>,
}

impl Identities {
    /// The files `ca` (one or more roots), `cert` and `key` of the node `name`.
    pub fn files([ca, cert, key]: [PathBuf; 3], role: Role, name: NodeName) -> Self {
        Self::Files(IdentityFiles { ca, cert, key, role, name, seen: Seen::default() })
    }

    /// Leaves that `authority` makes for the node `name`.
    pub fn minted(authority: Arc<Authority>, role: Role, name: NodeName) -> Self {
        Self::Minted(Mint { authority, role, name, renew_at: None })
    }
}

impl Source for Identities {
    type Loaded = Identity;
    type Error = RenewalError;

    fn look(&mut self, now: SystemTime) -> Look<Identity, RenewalError> {
        match self {
            Self::Files(files) => files.look(now),
            Self::Minted(mint) => mint.look(now),
        }
    }
}

impl IdentityFiles {
    fn look(&mut self, now: SystemTime) -> Look<Identity, RenewalError> {
        let Self { ca, cert, key, role, name, seen } = self;
        seen.look([ca, cert, key], |texts| {
            let identity = Identity::of_files([ca, cert, key], texts, *role, now)?;
            if identity.name() == name {
                return Ok(identity);
            }
            let (cert, found) = (cert.display().to_string(), identity.name().clone());
            Err(RenewalError::OtherNode { cert, found, name: name.clone() })
        })
    }
}

impl Mint {
    fn look(&mut self, now: SystemTime) -> Look<Identity, RenewalError> {
        if self.renew_at.is_some_and(|at| now < at) {
            return Look::Same;
        }
        let made = self
            .authority
            .issue(&self.name, Roles::One(self.role), &[], now)
            .map_err(RenewalError::from)
            .and_then(|leaf| {
                let ca_pem = self.authority.ca_pem();
                Ok(Identity::of_texts(ca_pem, &leaf.cert_pem, &leaf.key_pem, self.role, now)?)
            });
        match made {
            Ok(identity) => {
                self.renew_at = Some(now + LEAF_VALIDITY * 2 / 3);
                Look::New(identity)
            }
            Err(error) => Look::Refused(error),
        }
    }
}

fn roots(ca_pem: &str) -> Result<Arc<RootCertStore>, Fault> {
    let mut roots = RootCertStore::empty();
    for root in pem::authorities(ca_pem)? {
        roots.add(root).map_err(|_| Fault::NotX509)?;
    }
    Ok(Arc::new(roots))
}

/// The first DNS name of a leaf. Stricter than [`peer_name`], so that both always agree.
fn own_name(leaf: &CertificateDer<'_>, cert: &str) -> Result<NodeName, IdentityError> {
    let first = verify::dns_names(leaf).unwrap_or_default().into_iter().next();
    match first.as_deref().map(NodeName::parse) {
        Some(Ok(name)) => Ok(name),
        Some(Err(_)) | None => Err(IdentityError::Nameless { cert: cert.to_owned(), first }),
    }
}

/// What a verifier's refusal of the own leaf means to the operator.
fn refusal(error: rustls::Error, cert: String, ca: String, role: Role) -> IdentityError {
    let time = |at: UnixTime| UNIX_EPOCH + Duration::from_secs(at.as_secs());
    match error {
        rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            IdentityError::Expired { cert, at: time(not_after) }
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            IdentityError::Early { cert, from: time(not_before) }
        }
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => IdentityError::Stranger { cert, ca },
        rustls::Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        ) => IdentityError::WrongRole { cert, role },
        error => IdentityError::Unfit { cert, error },
    }
}

/// Sets our derived secrets apart from anybody else's of the same key; a change of it changes them all.
const SECRET_SALT: &[u8] = b"causeway link v1";

const RING_SPEAKS_TLS13: &str = "ring's cipher suites include those of TLS 1.3";

#[cfg(test)]
mod tests;
