//! Pairs that are shown or refused, their change under a door, and what browsers demand of the minted ones.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use rustls::{ClientConnection, RootCertStore, ServerConnection};
use rustls_pki_types::ServerName;

use super::*;
use crate::source::first;

#[test]
fn a_pair_on_disk_is_shown_and_its_successor_from_the_next_handshake_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut files = files(dir.path());
    let old = write(dir.path(), now());
    let shown = Shown::new(first(&mut files, now()).expect("a pair"));
    let config = Arc::new(shown.server_config(&[b"http/1.1"]));
    assert_eq!(seen_by_a_client(&config, &old), Ok(()));
    assert!(matches!(files.look(now()), Look::Same));

    let new = write(dir.path(), now());
    let Look::New(offer) = files.look(now()) else { panic!("another content") };
    assert!(offer.hashes.is_empty(), "a CA vouches for what an operator gives");
    shown.change(offer);

    assert_eq!(seen_by_a_client(&config, &new), Ok(()));
    assert!(seen_by_a_client(&config, &old).is_err(), "the old one is shown no more");
}

#[test]
fn what_is_no_pair_is_refused_and_the_message_names_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut files = files(dir.path());
    let mut refused = || match files.look(now()) {
        Look::Refused(error) => error.to_string(),
        Look::Same | Look::New(_) => panic!("it is no pair"),
    };
    assert!(refused().contains("tls.pem: cannot be read"));
    let good = write(dir.path(), now());
    fs::write(dir.path().join("tls.key"), &mint(now()).key_pem).expect("written");
    assert!(refused().contains("tls.key: not the private key of the first certificate in "));
    // As a copy that is under way leaves it.
    fs::write(dir.path().join("tls.key"), &good.key_pem[..good.key_pem.len() / 2]).expect("written");
    assert!(refused().contains("tls.key: is damaged PEM"));
    fs::write(dir.path().join("tls.key"), "").expect("written");
    assert!(refused().contains("tls.key: holds no PEM private key"));
    fs::write(dir.path().join("tls.pem"), &good.key_pem).expect("written");
    assert!(refused().contains("tls.pem: holds no PEM certificate"));
}

#[test]
fn a_pair_is_shown_within_its_time_only() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), now());
    let day = Duration::from_secs(86_400);
    let look = |at| first(&mut files(dir.path()), at);
    assert!(matches!(look(now() - day), Err(PublicError::Early { .. })));
    assert!(look(now() + 13 * day).is_ok());
    let error = look(now() + 14 * day).expect_err("expired").to_string();
    assert!(error.contains("tls.pem: expired at 2027-01-29T"), "{error}");
}

#[test]
fn a_certificate_without_a_host_is_refused() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let cert = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
    let pair = |text: String| ("x".to_owned(), Ok(text));
    let refused = Public::examine(pair(cert.pem()), pair(key.serialize_pem()), now());
    assert!(matches!(refused, Err(PublicError::Nameless(_))));
}

#[test]
fn a_minted_certificate_is_what_browsers_take_by_its_hash() {
    let minted = mint(now());
    let der = pem::certificates(&minted.cert_pem).expect("PEM").remove(0);
    let x509 = pem::x509(&der).expect("X.509");
    let life = x509.validity().not_after.timestamp() - x509.validity().not_before.timestamp();
    assert!(life < 14 * 86_400, "{life} seconds, and both ends belong to it");
    let names = x509.subject_alternative_name().expect("once").expect("there").value;
    let names: Vec<_> = names.general_names.iter().map(ToString::to_string).collect();
    assert_eq!(names[0], "DNSName(localhost)");
    assert_eq!(names.len(), 3);
    let key = x509.public_key().parsed().expect("a key");
    assert!(matches!(key, x509_parser::public_key::PublicKey::EC(point) if point.key_size() == 256));
    assert!(!x509.is_ca());
}

#[test]
fn whoever_knows_the_hashes_of_a_day_can_connect_for_six_more() {
    let mut source = Localhost::default();
    let hour = Duration::from_secs(3600);
    let mut told: Vec<(SystemTime, Vec<Hash>)> = Vec::new();
    let mut shown: Option<Public> = None;
    let mut rotations = 0;
    for hours in 0..24 * 40 {
        let at = now() + hours * hour;
        match source.look(at) {
            Look::New(offer) => {
                rotations += 1;
                assert_eq!(offer.hashes[0], offer.shown.hash());
                told.push((at, offer.hashes));
                shown = Some(offer.shown);
            }
            Look::Same => {}
            Look::Refused(error) => panic!("{error}"),
        }
        let shown = shown.as_ref().expect("shown from the start");
        assert!(shown.not_before() <= at && at + 24 * hour < shown.not_after());
        let six_days_ago = at - 6 * 24 * hour;
        let known = told.iter().rev().find(|(since, _)| *since <= six_days_ago);
        assert!(known.is_none_or(|(_, hashes)| hashes.contains(&shown.hash())), "after {hours} hours");
    }
    assert_eq!(rotations, 7);
}

#[test]
fn a_machine_that_slept_or_whose_clock_was_set_back_begins_anew() {
    let day = Duration::from_secs(86_400);
    for sleep in [11 * day, 13 * day, 400 * day] {
        let mut source = Localhost::default();
        first(&mut source, now()).expect("minted");
        let Look::New(offer) = source.look(now() + sleep) else { panic!("too old after {sleep:?}") };
        assert!(now() + sleep + day < offer.shown.not_after(), "after {sleep:?}");
        // What is shown for the rest of the time is valid to the end of it.
        let Look::New(next) = source.look(now() + sleep + 6 * day) else { panic!("shown for 6 days") };
        assert!(now() + sleep + 7 * day < next.shown.not_after());
    }
    let mut source = Localhost::default();
    first(&mut source, now()).expect("minted");
    let Look::New(offer) = source.look(now() - 30 * day) else { panic!("not valid yet") };
    assert!(offer.shown.not_before() <= now() - 30 * day);
}

#[test]
fn debug_shows_no_key() {
    let offer = first(&mut Localhost::default(), now()).expect("minted");
    let shown = format!("{:?} {:?}", mint(now()), offer.shown);
    assert!(!shown.contains("PRIVATE") && !shown.contains("key"), "{shown}");
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn mint(now: SystemTime) -> SelfSigned {
    SelfSigned::localhost(now).expect("minted")
}

fn files(dir: &Path) -> Files {
    Files::new(dir.join("tls.pem"), dir.join("tls.key"))
}

/// Writes a new pair into `dir`.
fn write(dir: &Path, now: SystemTime) -> SelfSigned {
    let minted = mint(now);
    fs::write(dir.join("tls.pem"), &minted.cert_pem).expect("written");
    fs::write(dir.join("tls.key"), &minted.key_pem).expect("written");
    minted
}

/// Whether a client that trusts `pair` alone, at that time, finishes a handshake.
fn seen_by_a_client(server: &Arc<ServerConfig>, pair: &SelfSigned) -> Result<(), rustls::Error> {
    #[derive(Debug)]
    struct Then;
    impl rustls::time_provider::TimeProvider for Then {
        fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
            Some(rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000)))
        }
    }
    let mut roots = RootCertStore::empty();
    roots.add(pem::certificates(&pair.cert_pem).expect("PEM").remove(0))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_details(provider, Arc::new(Then))
        .with_protocol_versions(&[&version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let host = ServerName::try_from("localhost").expect("a host");
    let mut client = ClientConnection::new(Arc::new(config), host)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    while client.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("memory");
        server.read_tls(&mut bytes.as_slice()).expect("memory");
        server.process_new_packets()?;
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("memory");
        }
        let mut bytes = bytes.as_slice();
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).expect("memory");
            client.process_new_packets()?;
        }
    }
    Ok(())
}
