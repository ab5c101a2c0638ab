//! The directory of a CA: `ca.pem`, `ca.key`, and `NAME.pem`, `NAME.key` for each leaf.
//!
//! Called by the binary `certs`. What must stay true: a CA is never overwritten; every file appears whole or not at
//! all; a key is readable by its owner only, from its first byte on.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{Issuer, KeyPair, PublicKeyData};
use tempfile::NamedTempFile;

use crate::mint::{Authority, Leaf};
use crate::pem::{self, Fault};

/// What the CA's own files are called before the dot; no leaf may be called so.
pub const CA_STEM: &str = "ca";

/// The certificate's path and the key's path of `stem` in `dir`.
pub fn paths(dir: &Path, stem: &str) -> (PathBuf, PathBuf) {
    (dir.join(format!("{stem}.pem")), dir.join(format!("{stem}.key")))
}

/// Why a directory's CA cannot be used. The operator must mend the directory.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Neither file is there.
    #[error("{cert}: no CA here; make one first: `certs init {dir}`", cert = .0.join("ca.pem").display(), dir = .0.display())]
    NoCa(PathBuf),
    /// One of the two files cannot be used.
    #[error(
        "{}: {fault}; restore it from where `certs init` ran, or make a new CA in another directory: `certs init DIR`",
        file.display()
    )]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Two files, but not of one CA.
    #[error(
        "{}: not the key of any certificate in ca.pem beside it; restore both from where `certs init` ran, or make a \
         new CA in another directory: `certs init DIR`",
        .0.display()
    )]
    Mismatch(PathBuf),
}

/// Why nothing, or not everything, was written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// There is a CA, or the half of one.
    #[error(
        "{}: exists already, and a CA is never overwritten; issue leaves from it (`certs issue DIR --name NAME`) or \
         choose another directory. If an earlier `certs init` was interrupted, remove that file first",
        .0.display()
    )]
    Exists(PathBuf),
    /// A leaf that would overwrite the CA.
    #[error("a leaf cannot be called \"ca\": its files would be the CA's; choose another name")]
    NameTaken,
    /// The system refused.
    #[error("{}: cannot be written ({error}); check that its directory is there, writable and has room", file.display())]
    Write {
        /// Which file or directory.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl Authority {
    /// Reads the CA of `dir`.
    ///
    /// `ca.pem` may hold several certificates, as it does while a CA is being changed for another; the one that
    /// `ca.key` belongs to signs.
    ///
    /// # Errors
    /// The operator must mend the directory: see [`LoadError`].
    pub fn load(dir: &Path) -> Result<Self, LoadError> {
        let (cert, key) = paths(dir, CA_STEM);
        if !taken(&cert) && !taken(&key) {
            return Err(LoadError::NoCa(dir.to_owned()));
        }
        let in_cert = |fault| LoadError::File { file: cert.clone(), fault };
        let in_key = |fault| LoadError::File { file: key.clone(), fault };
        let ca_pem = pem::read(&cert).map_err(in_cert)?;
        let roots = pem::authorities(&ca_pem).map_err(in_cert)?;
        let key_der = pem::read(&key).and_then(|text| pem::private_key(&text)).map_err(in_key)?;
        let key_pair = KeyPair::try_from(&key_der).map_err(|_| in_key(Fault::StrangeKey))?;

        // A CA that was renewed with its old key stands there twice.
        let signing = roots
            .iter()
            .map(|root| (root, pem::x509(root).expect("authorities() has parsed it")))
            .filter(|(_, x509)| x509.public_key().subject_public_key.data == key_pair.der_bytes())
            .max_by_key(|(_, x509)| x509.validity().not_after.timestamp());
        let Some((root, x509)) = signing else { return Err(LoadError::Mismatch(key)) };
        let not_after = time_of(x509.validity().not_after.timestamp());
        let issuer = Issuer::from_ca_cert_der(root, key_pair).map_err(|_| in_cert(Fault::NotX509))?;
        Ok(Self::from_parts(issuer, ca_pem, not_after))
    }

    /// Writes `ca.pem` and `ca.key` into `dir`, which is made (mode 0700) where it is missing.
    ///
    /// # Errors
    /// Nothing is left behind. The operator must choose another directory, or mend this one: see [`SaveError`].
    pub fn save(&self, dir: &Path) -> Result<(), SaveError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir))?;
        let (cert, key) = paths(dir, CA_STEM);
        if let Some(there) = [&cert, &key].into_iter().find(|path| taken(path)) {
            return Err(SaveError::Exists(there.clone()));
        }
        let staged_cert = stage(dir, self.ca_pem(), CERT_MODE).map_err(failed(&cert))?;
        let staged_key = stage(dir, &self.key_pem(), KEY_MODE).map_err(failed(&key))?;
        // Of two that race, the one whose key is there first has won.
        appear(staged_key, &key)?;
        if let Err(error) = appear(staged_cert, &cert) {
            // Ours, from the line above, and of no use without its certificate.
            let _ = fs::remove_file(&key);
            return Err(error);
        }
        sync(dir).map_err(failed(dir))
    }
}

impl Leaf {
    /// Writes `NAME.pem` and `NAME.key` into `dir`, in place of older ones.
    ///
    /// Both are complete on the disk before either is renamed, so that only a crash between two renames, or a
    /// reader between them, sees the key of one and the certificate of the other; that is refused at load, and
    /// issuing again mends it.
    ///
    /// # Errors
    /// The operator must choose another name, or mend the directory: see [`SaveError`].
    pub fn save(&self, dir: &Path) -> Result<(), SaveError> {
        if self.name.as_str() == CA_STEM {
            return Err(SaveError::NameTaken);
        }
        let (cert, key) = paths(dir, self.name.as_str());
        let staged_cert = stage(dir, &self.cert_pem, CERT_MODE).map_err(failed(&cert))?;
        let staged_key = stage(dir, &self.key_pem, KEY_MODE).map_err(failed(&key))?;
        staged_key.persist(&key).map_err(|refused| failed(&key)(refused.error))?;
        staged_cert.persist(&cert).map_err(|refused| failed(&cert)(refused.error))?;
        sync(dir).map_err(failed(dir))
    }
}

/// Whether something is at `path`, be it a link to nowhere.
fn taken(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Writes `text` to a file of `dir` that nobody knows yet and that goes when it is dropped.
fn stage(dir: &Path, text: &str, mode: u32) -> io::Result<NamedTempFile> {
    let mut staged = tempfile::Builder::new()
        .prefix(".certs-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(dir)?;
    staged.write_all(text.as_bytes())?;
    staged.as_file().sync_all()?;
    Ok(staged)
}

/// Gives a staged file its name, which must be free.
fn appear(staged: NamedTempFile, path: &Path) -> Result<(), SaveError> {
    match staged.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => {
            Err(SaveError::Exists(path.to_owned()))
        }
        Err(refused) => Err(failed(path)(refused.error)),
    }
}

/// Makes renames in `dir` last through a loss of power.
fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn failed(file: &Path) -> impl Fn(io::Error) -> SaveError {
    move |error| SaveError::Write { file: file.to_owned(), error }
}

fn time_of(unix_seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(unix_seconds.try_into().unwrap_or(0))
}

const CERT_MODE: u32 = 0o644;
const KEY_MODE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use proto::id::NodeName;

    use super::*;
    use crate::link::Identity;
    use crate::{Role, Roles};

    #[test]
    fn a_saved_ca_is_loaded_and_goes_on_issuing() {
        let dir = tempfile::tempdir().expect("a directory");
        let minted = authority();
        minted.save(dir.path()).expect("saved");
        let loaded = Authority::load(dir.path()).expect("loaded");
        assert_eq!(loaded.ca_pem(), minted.ca_pem());
        assert!(
            minted.not_after().duration_since(loaded.not_after()).expect("same") < Duration::from_secs(1)
        );

        let leaf = loaded.issue(&edge(), Roles::Both, &[], SystemTime::now()).expect("issued");
        Identity::from_pem(minted.ca_pem(), &leaf.cert_pem, &leaf.key_pem, Role::Edge).expect("trusted");
    }

    #[test]
    fn of_several_certificates_the_one_with_the_key_signs() {
        let dir = tempfile::tempdir().expect("a directory");
        let (old, new) = (authority(), authority());
        new.save(dir.path()).expect("saved");
        fs::write(dir.path().join("ca.pem"), format!("{}{}", old.ca_pem(), new.ca_pem())).expect("written");
        let loaded = Authority::load(dir.path()).expect("loaded");
        let leaf = loaded.issue(&edge(), Roles::Both, &[], SystemTime::now()).expect("issued");
        Identity::from_pem(new.ca_pem(), &leaf.cert_pem, &leaf.key_pem, Role::Edge).expect("the new one's");
        Identity::from_pem(loaded.ca_pem(), &leaf.cert_pem, &leaf.key_pem, Role::Edge).expect("one of two");
    }

    #[test]
    fn a_key_of_another_ca_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        authority().save(dir.path()).expect("saved");
        fs::write(dir.path().join("ca.pem"), authority().ca_pem()).expect("written");
        assert!(matches!(Authority::load(dir.path()), Err(LoadError::Mismatch(_))));
    }

    #[test]
    fn half_a_ca_is_neither_loaded_nor_overwritten() {
        for half in ["ca.pem", "ca.key"] {
            let dir = tempfile::tempdir().expect("a directory");
            fs::write(dir.path().join(half), "precious").expect("written");
            assert!(matches!(Authority::load(dir.path()), Err(LoadError::File { .. })), "{half}");
            assert!(matches!(authority().save(dir.path()), Err(SaveError::Exists(_))), "{half}");
            assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing is left behind");
        }
    }

    #[test]
    fn of_many_that_init_at_once_one_wins_and_its_ca_is_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let won = std::thread::scope(|scope| {
            let racers: Vec<_> =
                (0..8).map(|_| scope.spawn(|| authority().save(dir.path()).is_ok())).collect();
            racers.into_iter().map(|racer| racer.join().expect("no panic")).filter(|&won| won).count()
        });
        assert_eq!(won, 1);
        Authority::load(dir.path()).expect("key and certificate fit");
    }

    #[test]
    fn a_leaf_called_ca_is_refused() {
        let name = NodeName::parse("ca").expect("a node name");
        let leaf = authority().issue(&name, Roles::Both, &[], SystemTime::now()).expect("issued");
        assert!(matches!(leaf.save(Path::new("/nowhere")), Err(SaveError::NameTaken)));
    }

    fn authority() -> Authority {
        Authority::new(SystemTime::now()).expect("minted")
    }

    fn edge() -> NodeName {
        NodeName::parse("edge-1").expect("a node name")
    }
}
