//! Identities that load or do not, and whole TLS handshakes between them, in memory.

use std::error::Error as _;
use std::fs;

use rustls::{AlertDescription, ClientConnection, ServerConnection};

use super::*;
use crate::Roles;
use crate::mint::{Authority, LEAF_VALIDITY, Leaf};
use crate::source::first;

#[test]
fn an_edge_and_a_relay_of_one_ca_meet_and_know_each_other() {
    let ca = authority();
    let (edge, relay) = (identity(&ca, "edge-1", Role::Edge), identity(&ca, "relay-1", Role::Relay));
    let met = handshake(edge.client_config(ALPN), relay.server_config(ALPN));
    assert_eq!(met.edge_sees, Ok("relay-1".to_owned()));
    assert_eq!(met.relay_sees, Ok("edge-1".to_owned()));
}

#[test]
fn a_leaf_without_a_role_is_an_edge_and_a_relay() {
    let ca = authority();
    let leaf = issue(&ca, "node-1", Roles::Both, SystemTime::now());
    let [edge, relay] = [Role::Edge, Role::Relay].map(|role| load(&ca, &leaf, role).expect("an identity"));
    let met = handshake(edge.client_config(ALPN), relay.server_config(ALPN));
    assert_eq!((met.edge_sees, met.relay_sees), (Ok("node-1".to_owned()), Ok("node-1".to_owned())));
}

#[test]
fn a_relay_of_a_foreign_ca_is_refused_by_the_edge() {
    let edge = identity(&authority(), "edge-1", Role::Edge);
    let relay = identity(&authority(), "relay-1", Role::Relay);
    let met = handshake(edge.client_config(ALPN), relay.server_config(ALPN));
    assert_eq!(met.edge_sees, Err(CertificateError::UnknownIssuer.into()));
    assert_eq!(met.relay_sees, Err(rustls::Error::AlertReceived(AlertDescription::UnknownCA)));
}

#[test]
fn an_edge_of_a_foreign_ca_is_refused_by_the_relay() {
    let (ours, foreign) = (authority(), authority());
    // It trusts our relay, as anybody with our ca.pem can; it is its own leaf that fails.
    let stray = issue(&foreign, "edge-1", Roles::One(Role::Edge), SystemTime::now());
    let roots = format!("{}{}", foreign.ca_pem(), ours.ca_pem());
    let edge = Identity::from_pem(&roots, &stray.cert_pem, &stray.key_pem, Role::Edge).expect("an identity");
    let met =
        handshake(edge.client_config(ALPN), identity(&ours, "relay-1", Role::Relay).server_config(ALPN));
    assert_eq!(met.relay_sees, Err(CertificateError::UnknownIssuer.into()));
    assert_eq!(met.edge_sees, Err(rustls::Error::AlertReceived(AlertDescription::UnknownCA)));
}

#[test]
fn an_edges_leaf_does_not_make_a_relay() {
    let ca = authority();
    let (edge, impostor) = (identity(&ca, "edge-1", Role::Edge), identity(&ca, "edge-2", Role::Edge));
    let met = handshake(edge.client_config(ALPN), impostor.server_config(ALPN));
    assert!(wrong_purpose(&met.edge_sees), "{:?}", met.edge_sees);
    assert!(met.relay_sees.is_err());
}

#[test]
fn a_relays_leaf_does_not_make_an_edge() {
    let ca = authority();
    let (relay, impostor) = (identity(&ca, "relay-1", Role::Relay), identity(&ca, "relay-2", Role::Relay));
    let met = handshake(impostor.client_config(ALPN), relay.server_config(ALPN));
    assert!(wrong_purpose(&met.relay_sees), "{:?}", met.relay_sees);
    assert!(met.edge_sees.is_err());
}

#[test]
fn an_edge_without_a_certificate_is_refused() {
    let ca = authority();
    let edge = identity(&ca, "edge-1", Role::Edge);
    let mut anonymous = edge.client_config(ALPN);
    anonymous.client_auth_cert_resolver = Arc::new(NoCertificate);
    let met = handshake(anonymous, identity(&ca, "relay-1", Role::Relay).server_config(ALPN));
    assert_eq!(met.relay_sees, Err(rustls::Error::NoCertificatesPresented));
}

#[test]
fn another_version_of_the_link_is_refused() {
    let ca = authority();
    let (edge, relay) = (identity(&ca, "edge-1", Role::Edge), identity(&ca, "relay-1", Role::Relay));
    let met = handshake(edge.client_config(b"link/2"), relay.server_config(ALPN));
    assert_eq!(met.relay_sees, Err(rustls::Error::NoApplicationProtocol));
}

#[test]
fn while_a_ca_is_changed_both_generations_meet() {
    let (old, new) = (authority(), authority());
    let roots = format!("{}{}", old.ca_pem(), new.ca_pem());
    let with_both = |ca: &Authority, name: &str, role: Role| {
        let leaf = issue(ca, name, Roles::One(role), SystemTime::now());
        Identity::from_pem(&roots, &leaf.cert_pem, &leaf.key_pem, role).expect("an identity")
    };
    let (edge, relay) = (with_both(&old, "edge-1", Role::Edge), with_both(&new, "relay-1", Role::Relay));
    let met = handshake(edge.client_config(ALPN), relay.server_config(ALPN));
    assert_eq!((met.edge_sees, met.relay_sees), (Ok("relay-1".to_owned()), Ok("edge-1".to_owned())));
}

#[test]
fn a_node_may_have_a_name_that_no_resolver_takes() {
    let ca = authority();
    let (edge, relay) = (identity(&ca, "-", Role::Edge), identity(&ca, "1", Role::Relay));
    let met = handshake(edge.client_config(ALPN), relay.server_config(ALPN));
    assert_eq!((met.edge_sees, met.relay_sees), (Ok("1".to_owned()), Ok("-".to_owned())));
}

#[test]
fn a_leaf_that_expires_while_its_node_runs_opens_no_further_link() {
    let ca = authority();
    let leaf = issue(&ca, "edge-1", Roles::Both, SystemTime::now());
    let mut edge = load(&ca, &leaf, Role::Edge).expect("an identity");
    let late = issue(&ca, "edge-1", Roles::Both, SystemTime::now() - LEAF_VALIDITY - DAY);
    let key = pem::private_key(&late.key_pem).expect("a key");
    let chain = pem::certificates(&late.cert_pem).expect("a chain");
    let signing_key = edge.provider.key_provider.load_private_key(key).expect("ECDSA");
    edge.certified_key = Arc::new(CertifiedKey::new(chain, signing_key));
    let met = handshake(edge.client_config(ALPN), identity(&ca, "relay-1", Role::Relay).server_config(ALPN));
    assert_eq!(met.edge_sees, Err(rustls::Error::AlertReceived(AlertDescription::CertificateExpired)));
    assert!(matches!(
        met.relay_sees,
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))
    ));
}

#[test]
fn a_leaf_is_refused_out_of_its_time_and_the_message_says_when() {
    let ca = authority();
    let now = SystemTime::now();
    let expired = issue(&ca, "edge-1", Roles::Both, now - LEAF_VALIDITY - DAY);
    let error = load(&ca, &expired, Role::Edge).expect_err("expired");
    let at = humantime::format_rfc3339_seconds(expired.not_after).to_string();
    assert!(matches!(error, IdentityError::Expired { .. }));
    assert!(error.to_string().contains(&at), "{error}");
    assert!(error.to_string().contains("certs issue DIR --name NAME"), "{error}");

    let early = issue(&ca, "edge-1", Roles::Both, now + DAY);
    assert!(matches!(load(&ca, &early, Role::Edge), Err(IdentityError::Early { .. })));
}

#[test]
fn a_leaf_of_another_role_is_refused_and_the_message_says_which() {
    let ca = authority();
    for (has, wants, lacks) in
        [(Role::Edge, Role::Relay, "serverAuth"), (Role::Relay, Role::Edge, "clientAuth")]
    {
        let leaf = issue(&ca, "node-1", Roles::One(has), SystemTime::now());
        let error = load(&ca, &leaf, wants).expect_err("the wrong role");
        assert!(matches!(error, IdentityError::WrongRole { role, .. } if role == wants));
        assert!(error.to_string().contains(lacks), "{error}");
        assert!(error.to_string().contains(&format!("--role {wants}")), "{error}");
    }
}

#[test]
fn a_leaf_of_a_foreign_ca_is_refused_at_load() {
    let stray = issue(&authority(), "edge-1", Roles::Both, SystemTime::now());
    for role in [Role::Edge, Role::Relay] {
        assert!(matches!(load(&authority(), &stray, role), Err(IdentityError::Stranger { .. })));
    }
}

#[test]
fn a_key_of_another_leaf_is_refused() {
    let ca = authority();
    let [one, other] = ["edge-1", "edge-2"].map(|name| issue(&ca, name, Roles::Both, SystemTime::now()));
    let mixed = Identity::from_pem(ca.ca_pem(), &one.cert_pem, &other.key_pem, Role::Edge);
    assert!(matches!(mixed, Err(IdentityError::KeyMismatch { .. })));
}

#[test]
fn garbage_is_refused_and_the_message_names_the_file_and_what_belongs_there() {
    let ca = authority();
    let leaf = issue(&ca, "edge-1", Roles::Both, SystemTime::now());
    let dir = tempfile::tempdir().expect("a directory");
    let good = [("ca.pem", ca.ca_pem()), ("edge-1.pem", &leaf.cert_pem), ("edge-1.key", &leaf.key_pem)];
    let paths = good.map(|(name, _)| dir.path().join(name));
    let write_good = || {
        for (path, (_, text)) in paths.iter().zip(good) {
            fs::write(path, text).expect("written");
        }
    };
    let load = || Identity::load(&paths[0], &paths[1], &paths[2], Role::Edge);
    write_good();
    assert_eq!(load().expect("an identity").name().as_str(), "edge-1");

    let damaged = "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n";
    let shell = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (path, flag) in paths.iter().zip(["--link-ca", "--link-cert", "--link-key"]) {
        for garbage in ["", "garbage", damaged, shell, "\u{0}"] {
            write_good();
            fs::write(path, garbage).expect("written");
            let error = load().expect_err("garbage").to_string();
            assert!(error.starts_with(&path.display().to_string()), "{error}");
            assert!(error.contains(flag), "{error}");
        }
        fs::remove_file(path).expect("removed");
        let error = load().expect_err("no file").to_string();
        assert!(
            error.starts_with(&path.display().to_string()) && error.contains("cannot be read"),
            "{error}"
        );
    }
}

#[test]
fn a_leaf_is_no_root() {
    let ca = authority();
    let leaf = issue(&ca, "edge-1", Roles::Both, SystemTime::now());
    let error =
        Identity::from_pem(&leaf.cert_pem, &leaf.cert_pem, &leaf.key_pem, Role::Edge).expect_err("no CA");
    assert!(matches!(error, IdentityError::Ca { fault: Fault::NotCa, .. }));
}

#[test]
fn a_leaf_that_names_no_node_first_is_refused() {
    let ca = authority();
    let dir = tempfile::tempdir().expect("a directory");
    ca.save(dir.path()).expect("saved");
    let foreign = |names: &[&str]| {
        let ca_key = fs::read_to_string(dir.path().join("ca.key")).expect("the CA's key");
        let ca_key = rcgen::KeyPair::from_pem(&ca_key).expect("a key");
        let issuer = rcgen::Issuer::from_ca_cert_pem(ca.ca_pem(), ca_key).expect("the CA");
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(names).expect("names");
        (params.signed_by(&key, &issuer).expect("signed").pem(), key.serialize_pem())
    };

    for (names, peer) in [
        (&[][..], Err(PeerNameError::Nameless)),
        (&["10.0.0.1"], Err(PeerNameError::Nameless)),
        (&["Edge.example.com"], Err(PeerNameError::Nameless)),
        (&["edge.example.com", "edge-1"], Ok("edge-1")),
    ] {
        let (cert, key) = foreign(names);
        let error = Identity::from_pem(ca.ca_pem(), &cert, &key, Role::Edge).expect_err("no node's");
        assert!(matches!(error, IdentityError::Nameless { .. }), "{names:?}: {error}");
        let seen = peer_name(&pem::certificates(&cert).expect("PEM"));
        assert_eq!(seen.as_ref().map(NodeName::as_str).map_err(|error| *error), peer, "{names:?}");
    }
    assert_eq!(peer_name(&[]), Err(PeerNameError::NoCertificate));
    assert_eq!(peer_name(&[CertificateDer::from(vec![0])]), Err(PeerNameError::Malformed));
}

#[test]
fn derived_secrets_depend_on_the_key_and_the_label_alone() {
    let ca = authority();
    let leaf = issue(&ca, "relay-1", Roles::Both, SystemTime::now());
    let [edge, relay] = [Role::Edge, Role::Relay].map(|role| load(&ca, &leaf, role).expect("an identity"));
    assert_eq!(edge.derive(b"reset"), relay.derive(b"reset"));
    assert_ne!(edge.derive(b"reset"), edge.derive(b"connection id"));
    assert_ne!(edge.derive(b"reset"), identity(&ca, "relay-1", Role::Relay).derive(b"reset"));
}

#[test]
fn neither_debug_nor_errors_show_a_key() {
    let ca = authority();
    let leaf = issue(&ca, "edge-1", Roles::Both, SystemTime::now());
    let shown = format!("{:?}", load(&ca, &leaf, Role::Edge).expect("an identity"));
    assert!(shown.starts_with("Identity { name: edge-1, role: Edge, not_after: "), "{shown}");
    assert!(shown.ends_with(", .. }"), "{shown}");

    let secret = leaf.key_pem.lines().nth(1).expect("base64");
    let broken = leaf.key_pem.replace("-----END PRIVATE KEY-----", "");
    for [ca_pem, cert, key] in [
        [&leaf.key_pem, &leaf.cert_pem, &leaf.key_pem],
        [&ca.ca_pem().to_owned(), &leaf.key_pem, &leaf.key_pem],
        [&ca.ca_pem().to_owned(), &leaf.cert_pem, &broken],
    ] {
        let error = Identity::from_pem(ca_pem, cert, key, Role::Edge).expect_err("mixed up");
        assert!(!format!("{error} {error:?} {:?}", error.source()).contains(secret), "{error:?}");
    }
}

const ALPN: &[u8] = b"link/1";
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn renewed_files_are_another_identity_and_those_of_another_node_are_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let ca = authority();
    let paths = ["ca.pem", "edge-1.pem", "edge-1.key"].map(|file| dir.path().join(file));
    let write = |ca_pem: &str, leaf: &Leaf| {
        for (path, text) in paths.iter().zip([ca_pem, &leaf.cert_pem, &leaf.key_pem]) {
            fs::write(path, text).expect("written");
        }
    };
    let name = NodeName::parse("edge-1").expect("a node name");
    let mut identities = Identities::files(paths.clone(), Role::Edge, name);
    let now = SystemTime::now();
    let leaf = |ca: &Authority, name| issue(ca, name, Roles::One(Role::Edge), SystemTime::now());

    write(ca.ca_pem(), &leaf(&ca, "edge-1"));
    let old = first(&mut identities, now).expect("an identity");
    assert!(matches!(identities.look(now), Look::Same));
    write(ca.ca_pem(), &leaf(&ca, "edge-2"));
    let Look::Refused(error) = identities.look(now) else { panic!("another node's") };
    assert!(error.to_string().contains("of the node edge-2, and this one is edge-1"), "{error}");
    // A new CA beside the old one, and a leaf of the new: relays that know the old CA only are not met any more.
    let new_ca = authority();
    write(&format!("{}{}", ca.ca_pem(), new_ca.ca_pem()), &leaf(&new_ca, "edge-1"));
    let Look::New(new) = identities.look(now) else { panic!("a good one") };

    let relay = |ca: &Authority| identity(ca, "relay-1", Role::Relay).server_config(ALPN);
    assert!(handshake(old.client_config(ALPN), relay(&ca)).relay_sees.is_ok());
    assert!(handshake(new.client_config(ALPN), relay(&ca)).relay_sees.is_err());
    assert!(handshake(new.client_config(ALPN), relay(&new_ca)).relay_sees.is_ok());
}

#[test]
fn a_minted_identity_is_renewed_when_a_third_of_its_life_is_left() {
    let now = SystemTime::now();
    let day = Duration::from_secs(86_400);
    let name = NodeName::parse("edge-1").expect("a node name");
    let mut identities = Identities::minted(Arc::new(authority()), Role::Edge, name);
    let old = first(&mut identities, now).expect("minted");
    assert!(matches!(identities.look(now + 19 * day), Look::Same));
    let Look::New(new) = identities.look(now + 20 * day) else { panic!("a third of 30 days is left") };
    assert_eq!(new.not_after().duration_since(old.not_after()).expect("later"), 20 * day);
    assert!(matches!(identities.look(now + 20 * day), Look::Same));
}

fn authority() -> Authority {
    Authority::new(SystemTime::now()).expect("a CA")
}

fn issue(ca: &Authority, name: &str, roles: Roles, now: SystemTime) -> Leaf {
    let name = NodeName::parse(name).expect("a node name");
    ca.issue(&name, roles, &[], now).expect("a leaf")
}

fn load(ca: &Authority, leaf: &Leaf, role: Role) -> Result<Identity, IdentityError> {
    Identity::from_pem(ca.ca_pem(), &leaf.cert_pem, &leaf.key_pem, role)
}

fn identity(ca: &Authority, name: &str, role: Role) -> Identity {
    load(ca, &issue(ca, name, Roles::One(role), SystemTime::now()), role).expect("an identity")
}

/// How a handshake ended for both, as the name that each saw of the other.
struct Met {
    edge_sees: Result<String, rustls::Error>,
    relay_sees: Result<String, rustls::Error>,
}

/// Carries bytes between both until neither has any, or both have failed.
fn handshake(client: ClientConfig, server: ServerConfig) -> Met {
    let host = ServerName::try_from("some-host.example").expect("a host name");
    let mut client = ClientConnection::new(Arc::new(client), host).expect("a client");
    let mut server = ServerConnection::new(Arc::new(server)).expect("a server");
    let (mut client_error, mut server_error) = (None, None);
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory");
        }
        server_error = server_error.or(receive(&mut server, &bytes));
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("memory");
        }
        client_error = client_error.or(receive(&mut client, &bytes));
    }
    Met { edge_sees: seen(&client, client_error), relay_sees: seen(&server, server_error) }
}

fn receive<Side>(to: &mut rustls::ConnectionCommon<Side>, mut bytes: &[u8]) -> Option<rustls::Error> {
    while !bytes.is_empty() {
        to.read_tls(&mut bytes).expect("memory");
        if let Err(error) = to.process_new_packets() {
            return Some(error);
        }
    }
    None
}

fn seen(by: &rustls::CommonState, error: Option<rustls::Error>) -> Result<String, rustls::Error> {
    if let Some(error) = error {
        return Err(error);
    }
    assert!(!by.is_handshaking());
    assert_eq!(by.alpn_protocol(), Some(ALPN));
    Ok(peer_name(by.peer_certificates().expect("mutual")).expect("a node").to_string())
}

fn wrong_purpose(seen: &Result<String, rustls::Error>) -> bool {
    use CertificateError::{InvalidPurpose, InvalidPurposeContext};
    matches!(seen, Err(rustls::Error::InvalidCertificate(InvalidPurpose | InvalidPurposeContext { .. })))
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
