//! The identity of a server: an Ed25519 key and a certificate that carries it.
//!
//! Owns the two files and their making. The key decides who the server is; the certificate only
//! carries it, and is made again if it is missing.

use std::fs::{DirBuilder, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use directories::ProjectDirs;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ED25519};

use super::failure::{Failure, because};
use super::private;

const KEY_FILE: &str = "key.pk8";
const CERTIFICATE_FILE: &str = "certificate.der";

/// The name in the certificate. Nobody checks it: the pin says who a server is.
pub(super) const SERVER_NAME: &str = "kwik";

/// What a server shows and proves in a TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) certificate_der: Vec<u8>,
    pub(super) key_pkcs8_der: Vec<u8>,
}

/// Where an identity is kept if the user does not say.
pub(super) fn default_folder() -> Result<PathBuf, Failure> {
    let dirs = ProjectDirs::from("", "", "kwik")
        .ok_or_else(|| Failure::failed("there is no home directory; use --identity"))?;
    Ok(dirs.data_dir().join("identity"))
}

/// The identity that is kept in a folder. At the first start it is made; of several processes that
/// start at once, all get the one that was there first.
pub(super) fn load_or_make(folder: &Path) -> Result<Identity, Failure> {
    let mut make = DirBuilder::new();
    make.recursive(true).mode(0o700);
    make.create(folder)
        .map_err(because(format!("cannot make {}", folder.display())))?;
    let key_file = folder.join(KEY_FILE);
    if !key_file.exists() {
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(cannot_make("key"))?;
        publish(folder, &key_file, &key.serialize_der(), 0o600)?;
    }
    let key_pkcs8_der = private::read(&key_file)?;
    let certificate_file = folder.join(CERTIFICATE_FILE);
    if !certificate_file.exists() {
        let certificate = self_signed(&key_pkcs8_der, &key_file)?;
        publish(folder, &certificate_file, &certificate, 0o644)?;
    }
    let certificate_der = std::fs::read(&certificate_file).map_err(because(format!(
        "cannot read {}",
        certificate_file.display()
    )))?;
    Ok(Identity {
        certificate_der,
        key_pkcs8_der,
    })
}

fn self_signed(key_pkcs8_der: &[u8], key_file: &Path) -> Result<Vec<u8>, Failure> {
    let key = KeyPair::try_from(key_pkcs8_der).map_err(|error| {
        Failure::failed(format!("{} is not a key: {error}", key_file.display()))
    })?;
    let mut params =
        CertificateParams::new([SERVER_NAME.to_owned()]).map_err(cannot_make("certificate"))?;
    params
        .distinguished_name
        .push(DnType::CommonName, SERVER_NAME);
    let certificate = params
        .self_signed(&key)
        .map_err(cannot_make("certificate"))?;
    Ok(certificate.der().to_vec())
}

/// Puts a file where there was none, all of it at once. That somebody else was faster is no error.
fn publish(folder: &Path, to: &Path, content: &[u8], mode: u32) -> Result<(), Failure> {
    let cannot_write = || because(format!("cannot write {}", to.display()));
    let mut file = tempfile::Builder::new()
        .prefix(".kwik-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)
        .map_err(cannot_write())?;
    file.write_all(content).map_err(cannot_write())?;
    file.as_file().sync_all().map_err(cannot_write())?;
    match file.persist_noclobber(to) {
        Ok(_) => Ok(()),
        Err(lost) if lost.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(failed) => Err(cannot_write()(failed.error)),
    }
}

fn cannot_make(what: &str) -> impl FnOnce(rcgen::Error) -> Failure {
    move |error| Failure::failed(format!("cannot make a {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs::set_permissions;
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn an_identity_is_the_same_at_every_start() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        let first = load_or_make(&folder).unwrap();
        assert_eq!(load_or_make(&folder).unwrap(), first);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.join(KEY_FILE)), 0o600);
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    }

    #[test]
    fn processes_that_start_at_once_get_the_same_identity() {
        const PROCESSES: usize = 8;
        let dir = tempfile::tempdir().unwrap();
        let barrier = Barrier::new(PROCESSES);
        let identities: Vec<Identity> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                load_or_make(dir.path()).unwrap()
            };
            let threads: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(identities.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_certificate_that_is_gone_is_made_again_for_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_make(dir.path()).unwrap();
        std::fs::remove_file(dir.path().join(CERTIFICATE_FILE)).unwrap();
        let again = load_or_make(dir.path()).unwrap();
        assert_eq!(again.key_pkcs8_der, first.key_pkcs8_der);
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        load_or_make(dir.path()).unwrap();
        let key = dir.path().join(KEY_FILE);
        set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
        let failure = load_or_make(dir.path()).expect_err("it is refused");
        assert!(failure.message.unwrap().contains("by others"));
    }
}
