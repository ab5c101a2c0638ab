//! What a balancer says of whom it speaks for.

use std::net::IpAddr;

use proto::proxy::{HEAD_BYTES, Head, InvalidHeader, REST_BYTES_MAX};

/// A header that is read says how long it is, within the bound, and what is behind it changes nothing.
pub(super) fn check(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return };
    let head = match Head::parse(head) {
        Ok(head) => head,
        Err(InvalidHeader::Short) => panic!("a head has no addresses that could be missing"),
        Err(InvalidHeader::Signature | InvalidHeader::Kind | InvalidHeader::Long) => return,
    };
    assert!(head.rest_bytes() <= REST_BYTES_MAX, "{} bytes", head.rest_bytes());
    let Some(rest) = rest.get(..head.rest_bytes()) else { return };
    match head.source(rest) {
        Ok(Some(address)) => {
            assert_eq!(address, address.to_canonical());
            let octets = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            assert!(rest.windows(octets.len()).any(|window| window == octets), "{address} was sent");
        }
        Ok(None) => {}
        Err(InvalidHeader::Short) => assert!(rest.len() < 36),
        Err(InvalidHeader::Signature | InvalidHeader::Kind | InvalidHeader::Long) => {
            panic!("the head was good")
        }
    }
}
