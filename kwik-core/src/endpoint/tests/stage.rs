//! A client, its primary and a secondary, all of them endpoints, on one wire.

use smallvec::smallvec;

use super::*;
use crate::path::PathSpec;
use crate::ticket::MasterKey;

pub(super) const CLIENT: usize = 0;
pub(super) const PRIMARY: usize = 1;
pub(super) const SECONDARY: usize = 2;
/// The session at the client, and at the primary.
pub(super) const SESSION: SessionHandle = SessionHandle(0);

/// A client with a session, and a secondary that is not named yet.
pub(super) struct Stage {
    nodes: Vec<Somebody>,
    pub(super) wire: Wire,
    pub(super) secondary: PathSpec,
}

impl Stage {
    pub(super) fn new(config: &Config, delay: Duration) -> Self {
        let mut wire = Wire::new();
        wire.delay = delay;
        let (master, now) = (MasterKey::from_bytes([7; 32]), wire.now());
        let identity = Identity::fixed();
        let server = |peer| ServerIdentity {
            certificate_der: identity.certificate.clone(),
            key_pkcs8_der: identity.key.clone(),
            master: Some(master.clone()),
            peer,
        };
        let peer = master.peer_key(&identity.pin());
        let hosts = [None, Some(server(None)), Some(server(Some(peer)))];
        let nodes = (0..).zip(hosts).map(|(number, server)| {
            let seed = [number; 32];
            let endpoint = Endpoint::new(Arc::new(config.clone()), server, seed, now);
            Somebody::Endpoint(Box::new(Driven {
                endpoint: endpoint.expect("a good configuration"),
                addr: SocketAddr::from(([203, 0, 113, number + 1], 4433)),
                events: Vec::new(),
            }))
        });
        let nodes: Vec<Somebody> = nodes.collect();
        let secondary = PathSpec {
            addrs: smallvec![nodes[SECONDARY].addr()],
            server_name: "kwik".to_owned(),
            pin: identity.pin(),
        };
        let mut stage = Self {
            nodes,
            wire,
            secondary,
        };
        let target = stage.primary_target();
        let connected = stage.endpoint(CLIENT).connect(now, target);
        assert_eq!(connected, Ok(SESSION));
        stage.run(delay * 8);
        stage
    }

    /// What the client dials.
    pub(super) fn primary_target(&self) -> DialTarget {
        DialTarget {
            addr: self.nodes[PRIMARY].addr(),
            server_name: "kwik".to_owned(),
            pin: self.secondary.pin,
        }
    }

    pub(super) fn driven(&mut self, node: usize) -> &mut Driven {
        match &mut self.nodes[node] {
            Somebody::Endpoint(driven) => driven,
            Somebody::Script(_) => panic!("all are endpoints"),
        }
    }

    pub(super) fn endpoint(&mut self, node: usize) -> &mut Endpoint {
        &mut self.driven(node).endpoint
    }

    pub(super) fn run(&mut self, duration: Duration) {
        self.wire.run(&mut self.nodes, duration);
    }
}
