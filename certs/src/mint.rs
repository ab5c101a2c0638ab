//! The private CA and the leaves that it signs, in memory.
//!
//! Called by `causeway dev`, which needs no files, and by the binary `certs`, which keeps what is minted here with
//! [`dir`](mod@crate::dir). Time comes in as an argument; randomness comes from the system, inside ring.
//!
//! What must stay true: a leaf's first DNS name is its node's, and no leaf outlives its CA, because a verifier does
//! not look at the validity of a root.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::id::NodeName;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::DnsName;

use crate::{Role, Roles};

/// A CA lives for ten years: changing it touches every machine.
pub const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * DAY_SECONDS);

/// A leaf lives for 30 days, so that a lost key is worth little and renewal is a habit.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(30 * DAY_SECONDS);

/// A certificate that browsers trust by its hash alone lives for at most 14 days, as they demand; this one from an hour
/// before it was made.
pub const SELF_SIGNED_VALIDITY: Duration = Duration::from_secs(14 * DAY_SECONDS);

/// Everything is valid an hour before it was made: clocks of other machines may lag.
pub const BACKDATING: Duration = Duration::from_secs(3600);

/// A private CA, with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    not_after: SystemTime,
}

/// Why nothing was minted.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// Certificates cannot say such a time.
    #[error("this machine's clock is before 1970 or after 9900: set it, then try again")]
    Clock,
    /// Its leaves would be refused by everybody.
    #[error(
        "the CA expired at {}: make a new one in another directory (`certs init DIR`), add its ca.pem to \
         everybody's, then issue all leaves anew",
        humantime::format_rfc3339_seconds(*.0)
    )]
    CaExpired(SystemTime),
    /// The system gave no randomness, or a signature failed.
    #[error("the certificate could not be made: {0}")]
    Crypto(#[from] rcgen::Error),
}

impl Authority {
    /// Makes a CA that is valid from an hour before `now` for [`CA_VALIDITY`].
    ///
    /// # Errors
    /// The machine is at fault: its clock, or its source of randomness.
    pub fn new(now: SystemTime) -> Result<Self, MintError> {
        let now = whole_seconds(now)?;
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let not_after = now + CA_VALIDITY;
        let mut params = params(&format!("Causeway private CA {}", fingerprint(&key)), now, not_after);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), ca_pem, not_after })
    }

    /// Puts a CA together again from what [`dir`](mod@crate::dir) has read and checked.
    pub(crate) fn from_parts(
        issuer: Issuer<'static, KeyPair>,
        ca_pem: String,
        not_after: SystemTime,
    ) -> Self {
        Self { issuer, ca_pem, not_after }
    }

    /// What everybody who is to trust this CA needs: its certificate, and any others that stood beside it.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The secret that makes leaves. Whoever has it may be any node.
    pub(crate) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// When the CA ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Makes a leaf with a new key for the node `name`, which may be what `roles` say.
    ///
    /// It is valid from an hour before `now` for [`LEAF_VALIDITY`], or as long as the CA. `sans` come after the
    /// name; links ignore them.
    ///
    /// # Errors
    /// The operator must replace an expired CA; the rest is the machine's fault: its clock, or its randomness.
    pub fn issue(
        &self,
        name: &NodeName,
        roles: Roles,
        sans: &[San],
        now: SystemTime,
    ) -> Result<Leaf, MintError> {
        let now = whole_seconds(now)?;
        if now >= self.not_after {
            return Err(MintError::CaExpired(self.not_after));
        }
        let not_after = (now + LEAF_VALIDITY).min(self.not_after);
        let mut params = params(name.as_str(), now, not_after);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = key_usages_of(roles);
        params.subject_alt_names = alt_names(name, sans);
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let cert_pem = params.signed_by(&key, &self.issuer)?.pem();
        let not_before = now - BACKDATING;
        Ok(Leaf { name: name.clone(), cert_pem, key_pem: key.serialize_pem(), not_before, not_after })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// A node's certificate and its key.
#[derive(Clone)]
pub struct Leaf {
    /// Whose it is.
    pub name: NodeName,
    /// The certificate, as PEM.
    pub cert_pem: String,
    /// The private key, as PEM (PKCS#8). A secret.
    pub key_pem: String,
    /// From when on it is valid.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("name", &self.name)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// A certificate for this machine alone, signed by itself, and its key: what browsers take by its hash.
#[derive(Clone)]
pub struct SelfSigned {
    /// The certificate, as PEM.
    pub cert_pem: String,
    /// The private key, as PEM (PKCS#8). A secret.
    pub key_pem: String,
}

impl SelfSigned {
    /// Makes one for `localhost`, 127.0.0.1 and ::1 with a new ECDSA key (P-256). It is valid for
    /// [`SELF_SIGNED_VALIDITY`], counted from an hour before `now`.
    ///
    /// # Errors
    /// The machine is at fault: its clock, or its source of randomness.
    pub fn localhost(now: SystemTime) -> Result<Self, MintError> {
        let now = whole_seconds(now)?;
        // Both ends of a validity belong to it, and 14 days and a second are refused.
        let not_after = now - BACKDATING + SELF_SIGNED_VALIDITY - Duration::from_secs(1);
        let mut params = params("localhost", now, not_after);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into().expect("ASCII")),
            SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
            SanType::IpAddress(Ipv6Addr::LOCALHOST.into()),
        ];
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        Ok(Self { cert_pem: params.self_signed(&key)?.pem(), key_pem: key.serialize_pem() })
    }
}

impl fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfSigned").finish_non_exhaustive()
    }
}

/// A further name of a leaf, for whatever else an operator uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum San {
    /// A host name.
    Dns(DnsName<'static>),
    /// An address.
    Ip(IpAddr),
}

/// A text that is no [`San`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither a DNS name nor an IP address")]
pub struct InvalidSan;

impl FromStr for San {
    type Err = InvalidSan;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        DnsName::try_from(text.to_owned()).map(Self::Dns).map_err(|_| InvalidSan)
    }
}

/// What a CA's and a leaf's certificate have in common.
fn params(common_name: &str, now: SystemTime, not_after: SystemTime) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = epoch + since_epoch(now - BACKDATING);
    params.not_after = epoch + since_epoch(not_after);
    params
}

/// The first bytes of the public key's SHA-256, so that two CAs have two names and a stranger's is seen as such.
fn fingerprint(key: &KeyPair) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.public_key_raw());
    digest.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key_usages_of(roles: Roles) -> Vec<ExtendedKeyUsagePurpose> {
    let usages = [
        (Role::Relay, ExtendedKeyUsagePurpose::ServerAuth),
        (Role::Edge, ExtendedKeyUsagePurpose::ClientAuth),
    ];
    usages.into_iter().filter(|(role, _)| roles.include(*role)).map(|(_, usage)| usage).collect()
}

fn alt_names(name: &NodeName, sans: &[San]) -> Vec<SanType> {
    let dns = |name: &str| SanType::DnsName(name.try_into().expect("DNS names are ASCII"));
    let mut names = vec![dns(name.as_str())];
    for san in sans {
        let further = match san {
            San::Dns(host) => dns(host.as_ref()),
            San::Ip(address) => SanType::IpAddress(*address),
        };
        if !names.contains(&further) {
            names.push(further);
        }
    }
    names
}

/// `now` as certificates can say it: whole seconds, and far enough from the ends of their calendar.
fn whole_seconds(now: SystemTime) -> Result<SystemTime, MintError> {
    let seconds = now.duration_since(UNIX_EPOCH).map_err(|_| MintError::Clock)?.as_secs();
    let representable = BACKDATING.as_secs()..SECONDS_TO_9900;
    if !representable.contains(&seconds) {
        return Err(MintError::Clock);
    }
    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH)
        .expect("times are checked by whole_seconds, which leaves room for backdating")
}

const DAY_SECONDS: u64 = 86_400;

/// From 1970 to 9900: X.509 ends with the year 9999.
const SECONDS_TO_9900: u64 = 7930 * 365 * DAY_SECONDS;

#[cfg(test)]
mod tests {
    use x509_parser::prelude::ParsedExtension;

    use super::*;
    use crate::pem;

    #[test]
    fn a_leaf_says_who_it_is_first_and_what_it_may_be() {
        let authority = Authority::new(now()).expect("minted");
        let sans = ["relay.example.com", "::1", "relay-1"].map(|san| san.parse().expect("a name"));
        let leaf = authority.issue(&name("relay-1"), Roles::One(Role::Relay), &sans, now()).expect("issued");
        let der = pem::certificates(&leaf.cert_pem).expect("PEM").remove(0);
        let x509 = pem::x509(&der).expect("X.509");

        let names = x509.subject_alternative_name().expect("once").expect("there").value;
        let names: Vec<_> = names.general_names.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), 3, "the repeated name is left out: {names:?}");
        assert_eq!(names[..2], ["DNSName(relay-1)", "DNSName(relay.example.com)"]);
        let usage = x509.extended_key_usage().expect("once").expect("there").value;
        assert!(usage.server_auth && !usage.client_auth);
        assert!(!x509.is_ca());
        assert_eq!(seconds(&x509.validity().not_before), NOW_SECONDS - 3600);
        assert_eq!(seconds(&x509.validity().not_after), NOW_SECONDS + 30 * 86_400);
        assert_eq!(since_epoch(leaf.not_after).as_secs(), NOW_SECONDS + 30 * 86_400);
    }

    #[test]
    fn a_ca_may_sign_leaves_and_revocations_and_no_other_ca() {
        let authority = Authority::new(now()).expect("minted");
        let der = pem::authorities(authority.ca_pem()).expect("a CA").remove(0);
        let x509 = pem::x509(&der).expect("X.509");
        let constraints = x509.basic_constraints().expect("once").expect("there").value;
        assert!(constraints.ca);
        assert_eq!(constraints.path_len_constraint, Some(0));
        let usage = x509.key_usage().expect("once").expect("there").value;
        assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
        assert!(x509.subject().to_string().starts_with("CN=Causeway private CA "));
        assert_eq!(seconds(&x509.validity().not_after), NOW_SECONDS + 3650 * 86_400);
        let identified =
            |extension: &ParsedExtension<'_>| matches!(extension, ParsedExtension::SubjectKeyIdentifier(_));
        assert!(x509.extensions().iter().any(|extension| identified(extension.parsed_extension())));
    }

    #[test]
    fn no_leaf_outlives_its_ca_and_an_expired_ca_issues_none() {
        let authority = Authority::new(now()).expect("minted");
        let issue = |at| authority.issue(&name("edge-1"), Roles::Both, &[], at);
        let late = issue(authority.not_after() - Duration::from_secs(1)).expect("still valid");
        assert_eq!(late.not_after, authority.not_after());
        assert!(matches!(issue(authority.not_after()), Err(MintError::CaExpired(_))));
    }

    #[test]
    fn a_clock_that_certificates_cannot_say_is_refused() {
        for wrong in
            [UNIX_EPOCH, UNIX_EPOCH - Duration::from_secs(1), UNIX_EPOCH + Duration::from_secs(1 << 40)]
        {
            assert!(matches!(Authority::new(wrong), Err(MintError::Clock)), "{wrong:?}");
        }
        assert!(Authority::new(UNIX_EPOCH + BACKDATING).is_ok());
    }

    #[test]
    fn debug_shows_no_key() {
        let authority = Authority::new(now()).expect("minted");
        let leaf = authority.issue(&name("edge-1"), Roles::Both, &[], now()).expect("issued");
        let shown = format!("{authority:?} {leaf:?}");
        assert!(!shown.contains("PRIVATE"), "{shown}");
        assert!(shown.contains("edge-1"));
    }

    #[test]
    fn a_further_name_is_a_host_or_an_address() {
        assert!(matches!("10.0.0.1".parse(), Ok(San::Ip(_))));
        assert!(matches!("a.example".parse(), Ok(San::Dns(_))));
        for san in ["", "a b", "*.example.com", "-", "10.0.0.1/8"] {
            assert_eq!(san.parse::<San>(), Err(InvalidSan), "{san:?}");
        }
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(NOW_SECONDS * 1000 + 999)
    }

    fn name(name: &str) -> NodeName {
        NodeName::parse(name).expect("a node name")
    }

    fn seconds(time: &x509_parser::time::ASN1Time) -> u64 {
        time.timestamp().try_into().expect("after 1970")
    }

    const NOW_SECONDS: u64 = 1_800_000_000;
}
