//! Pins, as a user writes and reads them.
//!
//! Owns the form of a pin and of a secondary on the command line.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// SHA-256 of the SubjectPublicKeyInfo of a server's certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Pin(pub(super) [u8; 32]);

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PinError {
    #[error("a pin is 64 hexadecimal digits, as `kwik serve` prints it")]
    Pin,
    #[error("a secondary is written ADDR:PORT,pin=HEX")]
    Secondary,
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let mut pin = [0; 32];
        hex::decode_to_slice(text, &mut pin).map_err(|_| PinError::Pin)?;
        Ok(Self(pin))
    }
}

/// A secondary on the command line of its primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SecondaryArg {
    pub(super) addr: SocketAddr,
    pub(super) pin: Pin,
}

impl FromStr for SecondaryArg {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let (addr, pin) = text.split_once(",pin=").ok_or(PinError::Secondary)?;
        let addr: SocketAddr = addr.parse().map_err(|_| PinError::Secondary)?;
        if addr.port() == 0 || addr.ip().is_unspecified() {
            return Err(PinError::Secondary);
        }
        let pin = pin.parse()?;
        Ok(Self { addr, pin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn a_pin_is_read_as_it_is_printed() {
        let pin: Pin = HEX.parse().expect("a pin");
        assert_eq!(pin.to_string(), HEX);
        assert_eq!(HEX.to_uppercase().parse(), Ok(pin));
    }

    #[test]
    fn anything_but_64_digits_is_no_pin() {
        for text in ["", "00", &HEX[1..], &format!("{HEX}00"), &"g".repeat(64)] {
            assert_eq!(text.parse::<Pin>(), Err(PinError::Pin), "{text}");
        }
    }

    #[test]
    fn a_secondary_is_an_address_and_a_pin() {
        for addr in ["127.0.0.1:4434", "[::1]:4434"] {
            let secondary: SecondaryArg = format!("{addr},pin={HEX}").parse().expect("good");
            assert_eq!(secondary.addr, addr.parse().expect("an address"));
            assert_eq!(secondary.pin.to_string(), HEX);
        }
    }

    #[test]
    fn a_secondary_without_all_of_it_is_refused() {
        for text in [
            "127.0.0.1:4434".into(),
            format!("127.0.0.1,pin={HEX}"),
            format!("127.0.0.1:0,pin={HEX}"),
            format!("0.0.0.0:4434,pin={HEX}"),
            format!("::1:4434,pin={HEX}x"),
            "127.0.0.1:4434,pin=00".into(),
        ] {
            assert!(text.parse::<SecondaryArg>().is_err(), "{text}");
        }
    }
}
