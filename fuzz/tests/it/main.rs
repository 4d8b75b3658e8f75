//! Replays the corpus of every fuzz target, and what is close to it.

use std::fs;
use std::path::Path;

#[test]
fn the_codec_holds_for_its_corpus() {
    replay("codec", kwik_fuzz::codec);
}

#[test]
fn the_reassembly_holds_for_its_corpus() {
    replay("aggregate_diff", kwik_fuzz::aggregate_diff);
}

#[test]
fn whole_worlds_hold_for_their_corpus() {
    replay("pair_script", kwik_fuzz::pair_script);
}

/// Runs a target on its inputs, on cuts of them, and with single bytes changed.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let mut inputs: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is part of the source")
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "no corpus");
    for path in inputs {
        let input = fs::read(&path).expect("a readable file");
        eprintln!("{}, {} bytes", path.display(), input.len());
        run(&input);
        let step = (input.len() / 8).max(1);
        for at in (0..input.len()).step_by(step) {
            run(&input[..at]);
            let mut changed = input.clone();
            changed[at] ^= 1 << (at % 8);
            run(&changed);
        }
    }
}
