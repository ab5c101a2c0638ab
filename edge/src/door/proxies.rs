//! Who a client is, where a balancer stands before the edge: `X-Forwarded-For`, and the PROXY protocol.
//!
//! Both are believed of trusted addresses only. Anybody can write such a header; what a stranger says of himself would
//! make every bound per address his to choose.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::HeaderMap;
use proto::proxy::{HEAD_BYTES, Head, InvalidHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The balancers that are believed.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Where they are; nobody where this is empty.
    pub trusted: Vec<Network>,
    /// Whether each of their connections begins with a header of the PROXY protocol (version 2).
    pub send_header: bool,
}

/// Addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Canonical, and 0 behind the prefix.
    address: IpAddr,
    prefix_bits: u8,
}

/// A text that is no [`Network`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// Neither an address nor a network.
    #[error("not an address such as 10.0.0.1, nor a network such as 10.0.0.0/8")]
    Malformed,
    /// More of an address than its prefix says.
    #[error("has bits behind its prefix; {0} is the network")]
    HostBits(Network),
}

/// Why a connection of a balancer is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    /// It ended.
    #[error("it ended within its PROXY protocol header: {0}")]
    Ended(#[from] std::io::Error),
    /// It does not begin as it should.
    #[error(transparent)]
    Invalid(#[from] InvalidHeader),
}

impl Proxies {
    fn trust(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// Reads the header that a trusted `peer` sends before all else, and answers who is behind it; `peer` itself where it
    /// speaks for nobody, or is nobody's balancer.
    ///
    /// # Errors
    /// A balancer that sends no header, or a wrong one.
    pub(crate) async fn read_header<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        peer: IpAddr,
    ) -> Result<IpAddr, HeaderError> {
        if !self.send_header || !self.trust(peer) {
            return Ok(peer);
        }
        let mut head = [0; HEAD_BYTES];
        stream.read_exact(&mut head).await?;
        let head = Head::parse(&head)?;
        let mut rest = vec![0; head.rest_bytes()];
        stream.read_exact(&mut rest).await?;
        Ok(head.source(&rest)?.unwrap_or(peer))
    }

    /// Who is behind `peer`, by what trusted balancers have written into `headers`: each appends whom it has heard it
    /// from, so that the last one who is no balancer of ours is the client.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let forwarded = headers.get_all(FORWARDED_FOR).iter().rev();
        let mut heard_from = forwarded
            .flat_map(|value| value.as_bytes().rsplit(|&byte| byte == b','))
            .map(|address| forwarded_address(std::str::from_utf8(address).ok()?.trim()));
        let mut client = peer;
        while self.trust(client) {
            // What a balancer could not say, somebody before it has made up.
            let Some(Some(before)) = heard_from.next() else { break };
            client = before;
        }
        client
    }
}

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Some balancers add the port.
fn forwarded_address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.split_once(']')?.0.parse().ok();
    let with_port = || text.parse().ok().map(|socket: std::net::SocketAddr| socket.ip());
    let address: IpAddr = text.parse().ok().or_else(with_port).or_else(bracketed)?;
    Some(address.to_canonical())
}

impl Network {
    /// Whether `address`, as it is or mapped into IPv6, belongs to it.
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix_bits) == Some(self.address)
    }
}

/// `address` with 0 behind its first `bits`; none where it has not that many.
fn masked(address: IpAddr, bits: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let behind = 32_u32.checked_sub(bits.into())?;
            let mask = u32::MAX.checked_shl(behind).unwrap_or(0);
            Some(IpAddr::V4((u32::from(address) & mask).into()))
        }
        IpAddr::V6(address) => {
            let behind = 128_u32.checked_sub(bits.into())?;
            let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
            Some(IpAddr::V6((u128::from(address) & mask).into()))
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(head, tail)| (head, Some(tail)));
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork::Malformed)?;
        let all_bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| InvalidNetwork::Malformed)?
            }
            Some(_) => return Err(InvalidNetwork::Malformed),
            None => all_bits,
        };
        let network = masked(address, prefix_bits).ok_or(InvalidNetwork::Malformed)?;
        let meant = Self { address: network, prefix_bits };
        if network == address { Ok(meant) } else { Err(InvalidNetwork::HostBits(meant)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn the_last_one_who_is_no_balancer_is_the_client() {
        for (peer, forwarded, client) in [
            // Nobody but balancers is believed.
            ("192.0.2.1", vec!["1.1.1.1"], "192.0.2.1"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec!["192.0.2.7"], "192.0.2.7"),
            ("::ffff:10.0.0.1", vec!["192.0.2.7"], "192.0.2.7"),
            // Whoever wrote the first ones made them up.
            ("10.0.0.1", vec!["1.1.1.1, 192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", vec!["1.1.1.1,10.0.0.9 , 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            ("10.0.0.1", vec!["1.1.1.1", "192.0.2.7", "10.0.0.2,10.0.0.3"], "192.0.2.7"),
            ("10.0.0.1", vec!["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", vec!["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", vec!["192.0.2.7:4711"], "192.0.2.7"),
            ("10.0.0.1", vec!["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.0.0.1", vec!["[2001:db8::7]"], "2001:db8::7"),
            ("2001:db8:1::1", vec!["2001:db8::7"], "2001:db8::7"),
            ("10.0.0.1", vec!["6.6.6.6", "é, 192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", vec!["6.6.6.6", "é, 10.0.0.2"], "10.0.0.2"),
        ] {
            let mut headers = HeaderMap::new();
            for value in &forwarded {
                headers.append(FORWARDED_FOR, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
            }
            assert_eq!(proxies().client(address(peer), &headers), address(client), "{peer} {forwarded:?}");
        }
    }

    #[tokio::test]
    async fn a_header_is_read_to_its_last_byte_and_of_balancers_only() {
        let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\xd4\x31\x01\xbb";
        let sent = [header.as_slice(), b"GET /"].concat();
        let mut stream = sent.as_slice();
        let proxies = proxies();
        let client = proxies.read_header(&mut stream, address("10.0.0.1")).await.expect("a header");
        assert_eq!((client, stream), (address("192.0.2.7"), b"GET /".as_slice()));

        let mut stream = sent.as_slice();
        let client = proxies.read_header(&mut stream, address("192.0.2.1")).await.expect("nobody's balancer");
        assert_eq!((client, stream.len()), (address("192.0.2.1"), sent.len()), "nothing was read");

        let mut stream = b"GET / HTTP/1.1\r\n\r\n".as_slice();
        let refused = proxies.read_header(&mut stream, address("10.0.0.1")).await;
        assert!(matches!(refused, Err(HeaderError::Invalid(InvalidHeader::Signature))));
        let refused = proxies.read_header(&mut &header[..20], address("10.0.0.1")).await;
        assert!(matches!(refused, Err(HeaderError::Ended(_))));
    }

    #[test]
    fn a_network_is_an_address_or_all_that_begin_alike() {
        let network = |text: &str| text.parse::<Network>();
        let ten = network("10.0.0.0/8").expect("a network");
        assert!(ten.contains(address("10.255.0.1")) && ten.contains(address("::ffff:10.1.2.3")));
        assert!(!ten.contains(address("11.0.0.0")) && !ten.contains(address("::10.0.0.1")));
        assert!(network("0.0.0.0/0").expect("all").contains(address("192.0.2.1")));
        assert!(!network("0.0.0.0/0").expect("all of IPv4").contains(address("2001:db8::1")));
        assert!(network("::/0").expect("all").contains(address("2001:db8::1")));
        let one = network("2001:db8::1").expect("an address");
        assert!(one.contains(address("2001:db8::1")) && !one.contains(address("2001:db8::2")));
        let error = network("10.1.2.3/8").expect_err("more than a network");
        assert_eq!(error.to_string(), "has bits behind its prefix; 10.0.0.0/8 is the network");
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "example.org", "::/129"] {
            assert_eq!(network(text), Err(InvalidNetwork::Malformed), "{text}");
        }
    }

    fn proxies() -> Proxies {
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48"].map(|text| text.parse().expect("a network")).to_vec();
        Proxies { trusted, send_header: true }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }
}
