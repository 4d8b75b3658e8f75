//! Nothing waits busily.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::fixtures::*;

/// The threads of this process: where they are described, and their names.
pub(crate) fn threads() -> impl Iterator<Item = (PathBuf, String)> {
    let tasks = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    tasks.filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        Some((task.path(), name.trim_end().to_owned()))
    })
}

/// Time that a thread was on a processor, in nanoseconds.
fn cpu_nanoseconds(port: u16) -> u64 {
    let name = format!("kwik {port}");
    let (task, _) = threads().find(|(_, comm)| *comm == name).expect("it runs");
    let schedstat = fs::read_to_string(task.join("schedstat")).expect("Linux tells");
    let first = schedstat.split_whitespace().next().expect("a number");
    first.parse().expect("a number")
}

#[test]
fn an_idle_client_and_an_idle_server_use_no_processor() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let (client, session, server) = pair();
    let (send, recv) = client.open_stream().expect("a stream");
    send.write_bytes(&mut pattern(0, 10)).expect("taken");
    let (_answer, request) = session.accept_stream().expect("a stream");
    request.read_chunk(10).expect("the first bytes");
    // Calls that wait must not keep anybody busy either.
    let _reader = spawn(move || recv.read_chunk(10));
    // The handshake's timers run out.
    std::thread::sleep(Duration::from_millis(500));

    let ports = [client.local_addr().port(), server.local_addr().port()];
    let before = ports.map(cpu_nanoseconds);
    let idle = Duration::from_secs(3);
    std::thread::sleep(idle);
    for (port, before) in ports.into_iter().zip(before) {
        let used = Duration::from_nanos(cpu_nanoseconds(port) - before);
        // 50 ms in 10 s.
        assert!(used < idle / 200, "{used:?} in {idle:?}");
    }
    client.close(0);
}
