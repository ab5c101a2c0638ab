//! Connection tokens.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edge::token::{Claims, LEEWAY_SECONDS, TokenError, Verifier};
use proto::client::{ClientId, Publication, json};
use ring::hmac;
use serde_json::value::RawValue;

use super::{check_push, check_shown, check_user};

const SECRET: &str = "a secret of ours";
const GOOD_HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const NOW: u64 = 1_800_000_000;

/// The first byte says what the rest is: `0` a whole token; `1` claims that we sign; `2` a header, a line break and claims
/// that we sign; `3` claims that we sign with another key. Only a token that we signed is accepted, and only in its time.
pub(super) fn check(bytes: &[u8]) {
    let Some((&kind, rest)) = bytes.split_first() else { return };
    match kind % 4 {
        0 => check_token(&String::from_utf8_lossy(rest)),
        1 => check_signed(GOOD_HEADER.as_bytes(), rest),
        2 => {
            let at = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            check_signed(&rest[..at], rest.get(at + 1..).unwrap_or_default());
        }
        _ => {
            let token = sign("a secret of others", GOOD_HEADER.as_bytes(), rest);
            assert_eq!(verify(&token), Err(TokenError::Invalid));
        }
    }
}

fn check_signed(header: &[u8], claims: &[u8]) {
    let token = sign(SECRET, header, claims);
    check_token(&token);
    // One bit of the signature is another, and it opens nothing. The last character has bits that say nothing.
    let mut forged = token.into_bytes();
    let at = forged.len() - 2;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("it was text");
    assert_eq!(verify(&forged), Err(TokenError::Invalid));
}

fn check_token(token: &str) {
    for stranger in [Verifier::new(Some("a secret of others")), Verifier::new(None)] {
        assert_eq!(stranger.verify(token, NOW), Err(TokenError::Invalid));
    }
    match verify(token) {
        Ok(claims) => check_claims(&claims, token),
        Err(TokenError::Expired) => {
            let (_, claims) = signed_parts(token).expect("only a token of ours is told its time");
            assert!(!is_in_time(&claims), "{token} is in its time");
        }
        Err(TokenError::Invalid) => {}
    }
}

fn check_claims(claims: &Claims, token: &str) {
    let (header, told) = signed_parts(token).expect("only a token of ours is accepted");
    let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
    assert_eq!(header.get("alg").and_then(|alg| text(alg)).as_deref(), Some("HS256"));
    assert!(header.get("crit").is_none_or(|crit| crit.get() == "null"), "we understand no extension");
    assert_eq!(told.get("sub").and_then(|sub| text(sub)).as_deref(), Some(claims.user.as_str()));
    assert!(told.get("channel").is_none_or(|channel| channel.get() == "null"), "it is for a subscription");
    assert!(is_in_time(&told), "{token} is not in its time");
    check_user(&claims.user);
    let info = json::client_info(&claims.user, ClientId(1), claims.info.as_deref());
    assert_eq!(json::user_of(&info).as_deref(), Some(claims.user.as_str()));
    check_push("news", Publication { data: b"1", info: &info });
    check_shown("news", Publication { data: b"1", info: &info });
}

fn is_in_time(claims: &Object) -> bool {
    let time = |name: &str| {
        let time = claims.get(name).filter(|time| time.get() != "null")?;
        Some(serde_json::from_str::<f64>(time.get()).expect("times are numbers"))
    };
    let leeway = LEEWAY_SECONDS as f64;
    time("exp").is_none_or(|exp| exp + leeway >= NOW as f64)
        && time("nbf").is_none_or(|nbf| nbf - leeway <= NOW as f64)
}

type Object = BTreeMap<String, Box<RawValue>>;

/// Header and claims of a token that is signed with our key, found out without the edge's code.
fn signed_parts(token: &str) -> Option<(Object, Object)> {
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().ok()?;
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let signed = format!("{header}.{claims}");
    if decoded(signature)? != signature_of(SECRET, &signed) {
        return None;
    }
    let object = |part: &str| serde_json::from_slice::<Object>(&decoded(part)?).ok();
    Some((object(header)?, object(claims)?))
}

fn verify(token: &str) -> Result<Claims, TokenError> {
    Verifier::new(Some(SECRET)).verify(token, NOW)
}

fn sign(secret: &str, header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = signature_of(secret, &signed);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn signature_of(secret: &str, signed: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
}
