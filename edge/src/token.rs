//! Connection tokens: JWTs signed with HS256, and nothing else (RFC 7519, RFC 7518 section 3.2).
//!
//! Pure: the caller says what time it is. The algorithm is ours, never the token's: a header that names another one is
//! refused before its signature is looked at.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto::id::{Channel, UserId};
use ring::hmac;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Seconds by which the clocks of whoever signs and of this edge may differ.
pub const LEEWAY_SECONDS: u64 = 60;

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Whose it is (`sub`).
    pub user: UserId,
    /// When it expires (`exp`), in unix seconds.
    pub expires: Option<u64>,
    /// What others are shown of this user (`info`): JSON on one line.
    pub info: Option<String>,
    /// What the server subscribes the user to (`channels`), as the token names it.
    pub channels: Vec<String>,
}

/// Why a token opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not signed with our key, not of our algorithm, or with claims that no token has.
    #[error("invalid token")]
    Invalid,
    /// Signed by us, but past its `exp` or before its `nbf`.
    #[error("token expired")]
    Expired,
}

/// The key that opens this edge, or none: then nobody gets in.
#[derive(Clone)]
pub struct Verifier {
    key: Option<hmac::Key>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("has_key", &self.key.is_some()).finish()
    }
}

impl Verifier {
    /// Accepts tokens signed with `secret`.
    pub fn new(secret: Option<&str>) -> Self {
        Self { key: secret.map(key) }
    }

    /// Checks `token` at `unix_seconds`.
    ///
    /// # Errors
    /// The client must get another token (expired), or does not belong here (invalid).
    pub fn verify(&self, token: &str, unix_seconds: u64) -> Result<Claims, TokenError> {
        self.claims(token).ok_or(TokenError::Invalid)?.checked_at(unix_seconds)
    }

    /// The claims of a token that is truly signed, whatever they say.
    fn claims(&self, token: &str) -> Option<WireClaims> {
        let key = self.key.as_ref()?;
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = object(&decode(header)?)?;
        if header.alg != "HS256" || header.crit.is_some() {
            return None;
        }
        hmac::verify(key, signed.as_bytes(), &decode(signature)?).ok()?;
        object(&decode(claims)?)
    }
}

/// Signs a token for `user`, for development and for operators at a terminal.
pub fn mint(secret: &str, user: &UserId, expires: Option<u64>) -> String {
    let mut claims = serde_json::json!({ "sub": user.as_str() });
    if let Some(expires) = expires {
        claims["exp"] = expires.into();
    }
    sign(secret, r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string())
}

pub(crate) fn sign(secret: &str, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac::sign(&key(secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

/// serde takes an array for a struct, field by field, and any bytes in a field that it passes over; header and claims are
/// objects in UTF-8 (RFC 7519, section 7.2).
fn object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    let json = std::str::from_utf8(json).ok()?;
    let is_object = json.trim_ascii_start().starts_with('{');
    serde_json::from_str(json).ok().filter(|_| is_object)
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood (RFC 7515, section 4.1.11); we know none.
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct WireClaims {
    sub: String,
    /// Numbers with a fraction are allowed (RFC 7519, section 2, NumericDate).
    exp: Option<f64>,
    nbf: Option<f64>,
    info: Option<Box<RawValue>>,
    channels: Option<Vec<String>>,
    /// Only subscription tokens have it.
    channel: Option<serde::de::IgnoredAny>,
}

impl WireClaims {
    fn checked_at(self, unix_seconds: u64) -> Result<Claims, TokenError> {
        let user = UserId::parse(&self.sub).map_err(|_| TokenError::Invalid)?;
        if self.channel.is_some() {
            return Err(TokenError::Invalid);
        }
        let (now, leeway) = (unix_seconds as f64, LEEWAY_SECONDS as f64);
        let is_expired = self.exp.is_some_and(|exp| exp + leeway < now);
        let is_early = self.nbf.is_some_and(|nbf| nbf - leeway > now);
        if is_expired || is_early {
            return Err(TokenError::Expired);
        }
        Ok(Claims {
            user,
            expires: self.exp.map(|exp| exp as u64),
            info: self.info.map(|info| one_line(info.get())),
            channels: self.channels.unwrap_or_default(),
        })
    }
}

/// Line breaks between the tokens of a JSON value mean nothing, and would end our frame.
fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

/// Whether `named` are the channels that a session was given at connect.
pub fn same_channels(named: &[String], given: &[Channel]) -> bool {
    let mut named: Vec<&str> = named.iter().map(String::as_str).collect();
    let mut given: Vec<&str> = given.iter().map(Channel::as_str).collect();
    named.sort_unstable();
    named.dedup();
    given.sort_unstable();
    given.dedup();
    named == given
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn verify(header: &str, claims: &str) -> Result<Claims, TokenError> {
        Verifier::new(Some("secret")).verify(&sign("secret", header, claims), NOW)
    }

    fn verify_claims(claims: &str) -> Result<Claims, TokenError> {
        verify(r#"{"alg":"HS256"}"#, claims)
    }

    #[test]
    fn the_example_of_the_field_is_accepted() {
        // The token that jwt.io shows, with the secret that it shows.
        let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
        let claims = Verifier::new(Some("your-256-bit-secret")).verify(token, NOW).expect("valid");
        assert_eq!((claims.user.as_str(), claims.expires), ("1234567890", None));
    }

    #[test]
    fn a_minted_token_opens_and_a_foreign_one_does_not() {
        let alice = UserId::parse("alice").expect("valid");
        let token = mint("secret", &alice, Some(NOW + 10));
        let claims = Verifier::new(Some("secret")).verify(&token, NOW).expect("valid");
        assert_eq!((claims.user, claims.expires), (alice, Some(NOW + 10)));
        assert_eq!(Verifier::new(Some("other")).verify(&token, NOW), Err(TokenError::Invalid));
        assert_eq!(Verifier::new(None).verify(&token, NOW), Err(TokenError::Invalid));
    }

    #[test]
    fn a_token_lives_until_its_expiry_and_the_leeway() {
        let at =
            |claim: &str, time: u64| verify_claims(&format!(r#"{{"sub":"a","{claim}":{time}}}"#)).map(|_| ());
        assert_eq!(at("exp", NOW - 60), Ok(()));
        assert_eq!(at("exp", NOW - 61), Err(TokenError::Expired));
        assert_eq!(at("nbf", NOW + 60), Ok(()));
        assert_eq!(at("nbf", NOW + 61), Err(TokenError::Expired));
    }

    #[test]
    fn only_our_algorithm_counts() {
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":"HS512"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"HS256","crit":["exp"]}"#,
            "{}",
            "[]",
            r#"["HS256",null]"#,
        ] {
            assert_eq!(verify(header, r#"{"sub":"a"}"#), Err(TokenError::Invalid), "{header}");
        }
    }

    #[test]
    fn a_user_must_be_named_and_possible() {
        for claims in [
            "{}",
            r#"{"sub":""}"#,
            r#"{"sub":7}"#,
            r#"{"sub":"a,b"}"#,
            r#"{"sub":"a#b"}"#,
            r#"{"sub":"a","channel":"c"}"#,
            r#"{"sub":"a","exp":"soon"}"#,
            r#"["a",null,null,null,null,null]"#,
            "nonsense",
        ] {
            assert_eq!(verify_claims(claims), Err(TokenError::Invalid), "{claims}");
        }
    }

    #[test]
    fn the_shape_of_a_token_is_checked() {
        let verifier = Verifier::new(Some("secret"));
        let good = sign("secret", r#"{"alg":"HS256"}"#, r#"{"sub":"a"}"#);
        let unsigned = &good[..=good.rfind('.').expect("two dots")];
        for token in ["", ".", "..", "a.b", "a.b.c.d", unsigned, &format!("{good}="), &format!("{good}.x")] {
            assert_eq!(verifier.verify(token, NOW), Err(TokenError::Invalid), "{token:?}");
        }
    }

    #[test]
    fn info_and_channels_are_carried() {
        let claims =
            verify_claims("{\"sub\":\"a\",\"info\":{\"n\":\n1},\"channels\":[\"x\",\"y\"]}").expect("valid");
        assert_eq!(claims.info.as_deref(), Some("{\"n\": 1}"));
        assert_eq!(claims.channels, ["x", "y"]);
    }
}
