//! `kwik keygen`: key files.
//!
//! Owns their form: a line that says which kind of key it is, and a line with the key in
//! hexadecimal digits.

use std::path::Path;

use kwik_core::ticket::{MasterKey, PeerKey};

use super::args::KeygenArgs;
use super::failure::Failure;
use super::private;
use super::random::random_32;

const MASTER_KIND: &str = "kwik-master-key v1";
const PEER_KIND: &str = "kwik-peer-key v1";

/// What a key file holds.
pub(super) enum Key {
    /// The key of a primary, from which those of its secondaries are derived.
    Master(MasterKey),
    /// The key of one secondary.
    Peer(PeerKey),
}

pub(super) fn run(args: &KeygenArgs) -> Result<(), Failure> {
    let key = match (&args.from, args.pin) {
        (Some(master), Some(pin)) => match load(master)? {
            Key::Master(master) => Key::Peer(master.peer_key(&pin.0)),
            Key::Peer(_) => {
                return Err(Failure::failed(format!(
                    "{} holds the key of a secondary, not a master key",
                    master.display()
                )));
            }
        },
        (Some(_) | None, Some(_) | None) => Key::Master(MasterKey::from_bytes(random_32()?)),
    };
    store(&args.file, &key)
}

/// Makes a key file.
pub(super) fn store(path: &Path, key: &Key) -> Result<(), Failure> {
    private::create_new(path, key.to_text().as_bytes())
}

/// Reads a key file.
pub(super) fn load(path: &Path) -> Result<Key, Failure> {
    let content = private::read(path)?;
    parse(&content)
        .ok_or_else(|| Failure::failed(format!("{} is not a key file of kwik", path.display())))
}

fn parse(content: &[u8]) -> Option<Key> {
    let text = str::from_utf8(content).ok()?;
    let (kind, digits) = text.trim_end().split_once('\n')?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    match kind {
        MASTER_KIND => Some(Key::Master(MasterKey::from_bytes(bytes))),
        PEER_KIND => Some(Key::Peer(PeerKey::from_bytes(bytes))),
        _ => None,
    }
}

impl Key {
    fn to_text(&self) -> String {
        let (kind, bytes) = match self {
            Self::Master(key) => (MASTER_KIND, key.as_bytes()),
            Self::Peer(key) => (PEER_KIND, key.as_bytes()),
        };
        format!("{kind}\n{}\n", hex::encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::super::pin::Pin;
    use super::*;

    fn args(file: PathBuf, from: Option<PathBuf>, pin: Option<[u8; 32]>) -> KeygenArgs {
        KeygenArgs {
            file,
            from,
            pin: pin.map(Pin),
        }
    }

    fn message(failure: Result<impl Sized, Failure>) -> String {
        let failure = failure.err().expect("it fails");
        failure.message.expect("it says why")
    }

    #[test]
    fn a_derived_key_is_the_one_that_its_primary_derives() {
        let dir = tempfile::tempdir().unwrap();
        let (master, peer) = (dir.path().join("m"), dir.path().join("p"));
        run(&args(master.clone(), None, None)).unwrap();
        run(&args(peer.clone(), Some(master.clone()), Some([7; 32]))).unwrap();
        let (Key::Master(master), Key::Peer(peer)) = (load(&master).unwrap(), load(&peer).unwrap())
        else {
            panic!("the kinds are told apart");
        };
        assert_eq!(master.peer_key(&[7; 32]).as_bytes(), peer.as_bytes());
        assert_ne!(master.peer_key(&[8; 32]).as_bytes(), peer.as_bytes());
    }

    #[test]
    fn a_key_file_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        run(&args(file.clone(), None, None)).unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let before = std::fs::read(&file).unwrap();
        assert!(message(run(&args(file.clone(), None, None))).contains("never overwritten"));
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }

    #[test]
    fn a_key_file_that_others_can_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        run(&args(file.clone(), None, None)).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert!(message(load(&file)).contains("by others"));
        }
        set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
        assert!(load(&file).is_ok());
    }

    #[test]
    fn nothing_is_derived_from_a_derived_key() {
        let dir = tempfile::tempdir().unwrap();
        let [master, peer, third] = ["m", "p", "t"].map(|name| dir.path().join(name));
        run(&args(master.clone(), None, None)).unwrap();
        run(&args(peer.clone(), Some(master), Some([7; 32]))).unwrap();
        let derived = run(&args(third.clone(), Some(peer), Some([8; 32])));
        assert!(message(derived).contains("not a master key"));
        assert!(!third.exists());
    }

    #[test]
    fn what_is_not_a_key_file_is_refused() {
        let good = Key::Master(MasterKey::from_bytes([1; 32])).to_text();
        assert!(parse(good.as_bytes()).is_some());
        let digits = "01".repeat(32);
        for text in [
            "",
            &digits,
            "kwik-master-key v1\n",
            &format!("kwik-master-key v1\n{}\n", &digits[2..]),
            &format!("kwik-master-key v2\n{digits}\n"),
            &format!("kwik-master-key v1\n{digits}\n{digits}\n"),
        ] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
