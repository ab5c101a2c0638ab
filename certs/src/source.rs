//! Where certificates come from, looked at again and again, so that they are replaced while their node runs.
//!
//! A [`Source`] is files, or a mint in memory. It is looked at by `node`, which knows when, and hands on what is new.
//! Looking reads files, so it may wait for a disk.
//!
//! What must stay true: what is handed on can be used at that moment; files count by their content, not by their dates;
//! what is refused changes nothing.

use std::fmt::Display;
use std::path::Path;
use std::time::SystemTime;

use ring::digest::{Context, Digest, SHA256};

use crate::pem::{self, Fault};

/// What a look at a [`Source`] found.
#[derive(Debug)]
pub enum Look<T, E> {
    /// What was handed on last; it is still the right one.
    Same,
    /// Something else, to be used from now on.
    New(T),
    /// Nothing that can be used: whoever has something goes on with it. Told at every look until it is mended.
    Refused(E),
}

/// Where certificates come from.
pub trait Source: Send + 'static {
    /// What is made of them.
    type Loaded: Send;
    /// Why they are of no use.
    type Error: Display + Send;

    /// Looks for something new. The first look hands on what there is.
    fn look(&mut self, now: SystemTime) -> Look<Self::Loaded, Self::Error>;
}

/// The first look: what a node begins with.
///
/// # Errors
/// There is nothing that can be used.
pub fn first<S: Source>(source: &mut S, now: SystemTime) -> Result<S::Loaded, S::Error> {
    match source.look(now) {
        Look::New(loaded) => Ok(loaded),
        Look::Refused(error) => Err(error),
        Look::Same => unreachable!("nothing was handed on before the first look"),
    }
}

/// The content that was handed on last, to know it again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Option<Vec<u8>>);

impl Seen {
    /// Loads `files`, unless their content is what was loaded last.
    pub(crate) fn look<const N: usize, T, E>(
        &mut self,
        files: [&Path; N],
        load: impl FnOnce([Result<String, Fault>; N]) -> Result<T, E>,
    ) -> Look<T, E> {
        let texts = files.map(pem::read);
        let content = digest(&texts).map(|digest| digest.as_ref().to_vec());
        if content.is_some() && content == self.0 {
            return Look::Same;
        }
        match load(texts) {
            Ok(loaded) => {
                self.0 = content;
                Look::New(loaded)
            }
            Err(error) => Look::Refused(error),
        }
    }
}

/// None where a file cannot be read.
fn digest(texts: &[Result<String, Fault>]) -> Option<Digest> {
    let mut context = Context::new(&SHA256);
    for text in texts {
        let text = text.as_ref().ok()?;
        // With its length, so that nothing moves from one file to another unseen.
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    Some(context.finish())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn content_counts_and_what_is_refused_changes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
        let mut seen = Seen::default();
        let mut look = || {
            seen.look([&first, &second], |texts| {
                let [first, second] = texts.map(|text| text.map_err(|fault| fault.to_string()));
                let both = first? + "|" + &second?;
                if both.contains("bad") { Err(both) } else { Ok(both) }
            })
        };
        assert!(matches!(look(), Look::Refused(_)), "there is no file yet");
        fs::write(&first, "ab").expect("written");
        fs::write(&second, "c").expect("written");
        assert!(matches!(look(), Look::New(both) if both == "ab|c"));
        assert!(matches!(look(), Look::Same));
        fs::write(&first, "ab").expect("written");
        assert!(matches!(look(), Look::Same), "another date is no other content");
        fs::write(&first, "bad").expect("written");
        assert!(matches!(look(), Look::Refused(_)));
        assert!(matches!(look(), Look::Refused(_)), "told until it is mended");
        fs::write(&first, "ab").expect("written");
        assert!(matches!(look(), Look::Same), "mended: what was handed on is right again");
        fs::write(&first, "a").expect("written");
        fs::write(&second, "bc").expect("written");
        assert!(matches!(look(), Look::New(both) if both == "a|bc"));
    }
}
