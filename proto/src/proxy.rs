//! The PROXY protocol, version 2: how a balancer that passes TCP on says who is behind it.
//!
//! ```text
//! 0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A  signature
//! 2·command  family·transport  length of the rest, u16
//! addresses and ports, then what else the balancer knows, which nobody here asks for
//! ```
//!
//! Read in two steps, so that not one byte of what comes behind the header is read with it. All numbers are big-endian.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of the first step.
pub const HEAD_BYTES: usize = 16;

/// Bytes of the rest that are read: two addresses have 36, and notes on a TLS handshake a few hundred.
pub const REST_BYTES_MAX: usize = 2048;

/// Begins every header. It is the beginning of nothing that any of our doors takes.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The first step: what follows, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    command: Command,
    family: Family,
    rest_bytes: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    /// The balancer speaks for itself: it looks whether we are well.
    Local,
    /// It speaks for somebody.
    Proxy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    /// Unspecified, Unix, or not TCP: no address that could be a client's.
    Other,
}

/// No header of the PROXY protocol, version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    /// It begins otherwise.
    #[error("no PROXY protocol header of version 2")]
    Signature,
    /// A version, command or family that there is not.
    #[error("a PROXY protocol header of a kind that there is not")]
    Kind,
    /// Above [`REST_BYTES_MAX`].
    #[error("a PROXY protocol header of over {REST_BYTES_MAX} bytes")]
    Long,
    /// Too short for its addresses.
    #[error("a PROXY protocol header without its addresses")]
    Short,
}

impl Head {
    /// Reads the first step.
    ///
    /// # Errors
    /// Whoever sent this does not speak the protocol: end the connection.
    pub fn parse(bytes: &[u8; HEAD_BYTES]) -> Result<Self, InvalidHeader> {
        if bytes[..SIGNATURE.len()] != SIGNATURE {
            return Err(InvalidHeader::Signature);
        }
        let command = match bytes[12] {
            0x20 => Command::Local,
            0x21 => Command::Proxy,
            _ => return Err(InvalidHeader::Kind),
        };
        let family = match bytes[13] {
            0x11 => Family::V4,
            0x21 => Family::V6,
            // Families and transports that there are: 0 to 3, and 0 to 2.
            other if other >> 4 <= 3 && other & 0xf <= 2 => Family::Other,
            _ => return Err(InvalidHeader::Kind),
        };
        let rest_bytes = u16::from_be_bytes([bytes[14], bytes[15]]);
        if usize::from(rest_bytes) > REST_BYTES_MAX {
            return Err(InvalidHeader::Long);
        }
        Ok(Self { command, family, rest_bytes })
    }

    /// Bytes of the second step, which are to be read whatever they are.
    pub fn rest_bytes(&self) -> usize {
        self.rest_bytes.into()
    }

    /// Reads the second step, [`Self::rest_bytes`] bytes: whom the balancer speaks for; none where that is itself, or where
    /// it does not say.
    ///
    /// # Errors
    /// As for [`Self::parse`].
    pub fn source(&self, rest: &[u8]) -> Result<Option<IpAddr>, InvalidHeader> {
        let address = match self.family {
            Family::V4 => {
                let (source, _) = rest.split_first_chunk::<4>().ok_or(InvalidHeader::Short)?;
                (rest.len() >= 12).then(|| Ipv4Addr::from(*source).into())
            }
            Family::V6 => {
                let (source, _) = rest.split_first_chunk::<16>().ok_or(InvalidHeader::Short)?;
                (rest.len() >= 36).then(|| Ipv6Addr::from(*source).to_canonical())
            }
            Family::Other => return Ok(None),
        };
        let address = address.ok_or(InvalidHeader::Short)?;
        Ok(match self.command {
            Command::Local => None,
            Command::Proxy => Some(address),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header as a whole: whom it names, and what is left behind it.
    fn read(hex: &str) -> Result<(Option<IpAddr>, usize), InvalidHeader> {
        let digits: Vec<_> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let bytes: Vec<_> = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
            .collect();
        let (head, rest) = bytes.split_first_chunk().expect("16 bytes");
        let head = Head::parse(head)?;
        let (rest, after) = rest.split_at(head.rest_bytes());
        Ok((head.source(rest)?, after.len()))
    }

    const SIGNATURE: &str = "0d0a0d0a 000d0a51 5549540a";

    #[test]
    fn a_balancer_says_whom_it_speaks_for() {
        let v4 = format!("{SIGNATURE} 21 11 000c  c0000207 c6336401 d431 01bb  474554");
        assert_eq!(read(&v4), Ok((Some("192.0.2.7".parse().expect("an address")), 3)));
        let v6 = format!(
            "{SIGNATURE} 21 21 0024  20010db8000000000000000000000007 20010db8000000000000000000000001 d431 01bb"
        );
        assert_eq!(read(&v6), Ok((Some("2001:db8::7".parse().expect("an address")), 0)));
        let mapped = format!(
            "{SIGNATURE} 21 21 0024  00000000000000000000ffffc0000207 00000000000000000000ffffc6336401 d431 01bb"
        );
        assert_eq!(read(&mapped), Ok((Some("192.0.2.7".parse().expect("an address")), 0)));
        // A note (type 4, no operation) behind the addresses.
        let noted = format!("{SIGNATURE} 21 11 0010  c0000207 c6336401 d431 01bb 04 0001 00");
        assert_eq!(read(&noted), Ok((Some("192.0.2.7".parse().expect("an address")), 0)));
    }

    #[test]
    fn a_balancer_may_speak_for_itself_or_not_say() {
        for kind in
            ["20 00 0000", "20 11 000c c0000207 c6336401 d431 01bb", "21 00 0000", "21 12 0000", "21 31 0000"]
        {
            assert_eq!(read(&format!("{SIGNATURE} {kind}")), Ok((None, 0)), "{kind}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let cases = [
            (format!("474554202f20485454502f31 21 11 000c {}", "00".repeat(12)), InvalidHeader::Signature),
            (format!("{SIGNATURE} 11 11 000c {}", "00".repeat(12)), InvalidHeader::Kind),
            (format!("{SIGNATURE} 22 11 000c {}", "00".repeat(12)), InvalidHeader::Kind),
            (format!("{SIGNATURE} 21 41 000c {}", "00".repeat(12)), InvalidHeader::Kind),
            (format!("{SIGNATURE} 21 13 000c {}", "00".repeat(12)), InvalidHeader::Kind),
            (format!("{SIGNATURE} 21 11 000b {}", "00".repeat(11)), InvalidHeader::Short),
            (format!("{SIGNATURE} 21 21 0023 {}", "00".repeat(35)), InvalidHeader::Short),
            (format!("{SIGNATURE} 21 11 0000"), InvalidHeader::Short),
            (format!("{SIGNATURE} 21 11 0801"), InvalidHeader::Long),
        ];
        for (hex, error) in cases {
            assert_eq!(read(&hex), Err(error), "{hex}");
        }
        let longest = format!("{SIGNATURE} 21 11 0800 {}", "01".repeat(2048));
        assert_eq!(read(&longest), Ok((Some("1.1.1.1".parse().expect("an address")), 0)));
    }
}
