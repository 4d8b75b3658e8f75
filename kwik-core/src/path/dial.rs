//! Who may be dialled [PATH-2]: a primary names secondaries, and must not turn its clients against
//! hosts that only they can reach (RFC 9000 §21.5.6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::DialPolicy;

/// How far an address reaches, narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// This host.
    Loopback,
    /// This link or site: link-local, private, shared and unique-local addresses.
    Private,
    /// Anywhere.
    Public,
}

impl DialPolicy {
    /// Whether a client whose primary is at `primary` connects to `target`.
    #[must_use]
    pub fn permits(&self, primary: IpAddr, target: SocketAddr) -> bool {
        let port = target.port();
        if port == 0 || self.ports_denied.contains(&port) || (port < self.port_min && port != 443) {
            return false;
        }
        let ip = target.ip().to_canonical();
        let Some(target_reach) = reach(ip) else {
            return false;
        };
        if self.addrs_allowed.contains(&ip) {
            return true;
        }
        // A primary may name hosts that reach at least as far as itself; loopback is named by
        // loopback alone.
        reach(primary.to_canonical()).is_some_and(|own| target_reach >= own)
    }
}

/// `None` for what is no address of one host.
fn reach(ip: IpAddr) -> Option<Reach> {
    match ip {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Option<Reach> {
    let [a, b, ..] = ip.octets();
    if a == 0 || ip.is_multicast() || ip.is_broadcast() || a >= 240 {
        None
    } else if ip.is_loopback() {
        Some(Reach::Loopback)
    } else if ip.is_private() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64) {
        Some(Reach::Private)
    } else {
        Some(Reach::Public)
    }
}

fn reach_v6(ip: Ipv6Addr) -> Option<Reach> {
    if ip.is_unspecified() || ip.is_multicast() {
        None
    } else if ip.is_loopback() {
        Some(Reach::Loopback)
    } else if ip.is_unicast_link_local() || ip.is_unique_local() {
        Some(Reach::Private)
    } else if let Some(v4) = embedded_v4(ip) {
        // Transition addresses lead to the embedded IPv4 address.
        reach_v4(v4)
    } else {
        Some(Reach::Public)
    }
}

/// The IPv4 address inside an IPv4-compatible, NAT64 (RFC 6052) or 6to4 (RFC 3056) address.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match (a, b) {
        (0x64, 0xff9b) => Some(v4(g, h)),
        (0x2002, _) => Some(v4(b, c)),
        (0, 0) if [c, d, e, f] == [0; 4] => Some(v4(g, h)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(primary: &str, target: &str) -> bool {
        let target = target.parse().expect("a socket address");
        DialPolicy::default().permits(primary.parse().expect("an address"), target)
    }

    /// [PATH-2]
    #[test]
    fn a_public_primary_names_public_hosts_only() {
        assert!(permits("198.51.100.1", "203.0.113.7:4433"));
        assert!(permits("2001:db8::1", "203.0.113.7:443"));
        for target in [
            "127.0.0.1:4433",
            "10.0.0.1:4433",
            "192.168.1.1:4433",
            "169.254.1.1:4433",
            "100.64.0.1:4433",
            "224.0.0.1:4433",
            "255.255.255.255:4433",
            "0.0.0.0:4433",
            "[::1]:4433",
            "[fe80::1]:4433",
            "[fc00::1]:4433",
            "[ff02::1]:4433",
            "[::ffff:127.0.0.1]:4433",
            "[::127.0.0.1]:4433",
            "[64:ff9b::7f00:1]:4433",
            "[2002:7f00:1::]:4433",
        ] {
            assert!(!permits("198.51.100.1", target), "{target}");
        }
    }

    /// [PATH-2]
    #[test]
    fn loopback_is_named_by_loopback_alone() {
        assert!(permits("127.0.0.1", "127.0.0.1:4433"));
        assert!(permits("::1", "127.0.0.1:4433"));
        assert!(!permits("192.168.1.1", "127.0.0.1:4433"));
        assert!(permits("192.168.1.1", "192.168.1.2:4433"));
        assert!(permits("127.0.0.1", "203.0.113.7:4433"));
    }

    /// [PATH-2]
    #[test]
    fn well_known_ports_are_not_dialled() {
        assert!(!permits("198.51.100.1", "203.0.113.7:53"));
        assert!(!permits("198.51.100.1", "203.0.113.7:0"));
        assert!(permits("198.51.100.1", "203.0.113.7:443"));
    }

    /// [PATH-2]
    #[test]
    fn an_allowed_address_overrides_its_class_but_not_the_port() {
        let policy = DialPolicy {
            addrs_allowed: vec![IpAddr::from([10, 0, 0, 1])],
            ..DialPolicy::default()
        };
        let primary = IpAddr::from([198, 51, 100, 1]);
        assert!(policy.permits(primary, SocketAddr::from(([10, 0, 0, 1], 4433))));
        assert!(!policy.permits(primary, SocketAddr::from(([10, 0, 0, 1], 22))));
    }
}
