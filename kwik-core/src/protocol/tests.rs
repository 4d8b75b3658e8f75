//! The text says what the code does, and the code cites what the text says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

use crate::error::code;
use crate::wire::known_frames;

const TEXT: &str = include_str!("../../docs/protocol.md");

/// The section of a rule, and its number in it.
type Rule = (String, u32);

/// Every `[SECTION-number]` in a text, with the marks around rules where they are laid down.
fn rules(text: &str, before: &str, after: &str) -> Vec<Rule> {
    let rule = |rest: &str| {
        let (name, behind) = rest.split_once(']')?;
        let (section, number) = name.split_once('-')?;
        let is_section =
            !section.is_empty() && section.bytes().all(|byte| byte.is_ascii_uppercase());
        let number = number
            .parse()
            .ok()
            .filter(|_| is_section && behind.starts_with(after))?;
        Some((section.to_owned(), number))
    };
    let open = format!("{before}[");
    text.split(open.as_str()).skip(1).filter_map(rule).collect()
}

fn laid_down() -> Vec<Rule> {
    rules(TEXT, "**", "**")
}

fn visit(folder: &Path, see: &mut dyn FnMut(&Path, &str)) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            visit(&path, see)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            see(&path, &fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

#[test]
fn rules_are_numbered_without_gaps() {
    let mut last = BTreeMap::new();
    for (section, number) in laid_down() {
        let expected = last.get(&section).map_or(1, |last| last + 1);
        assert_eq!((&section, number), (&section, expected));
        last.insert(section, number);
    }
    assert!(last.len() > 10);
}

#[test]
fn only_rules_that_exist_are_cited() {
    let known: BTreeSet<Rule> = laid_down().into_iter().collect();
    let sections: BTreeSet<&String> = known.iter().map(|(section, _)| section).collect();
    let check = |place: &str, text: &str| {
        for rule in rules(text, "", "") {
            let is_ours = sections.contains(&rule.0);
            assert!(
                !is_ours || known.contains(&rule),
                "{place} cites [{}-{}]",
                rule.0,
                rule.1
            );
        }
    };
    check("protocol.md", TEXT);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = 0;
    let visited = visit(&sources, &mut |path, text| {
        files += 1;
        check(&path.display().to_string(), text);
    });
    visited.expect("the sources can be read");
    assert!(files > 10);
}

/// The numbers in the first columns of the tables whose rows have `columns` columns.
fn table(columns: usize) -> Vec<(u64, String)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let number = u64::from_str_radix(cells.first()?.strip_prefix("0x")?, 16).ok()?;
        let name = cells.get(1)?.trim_start_matches('[').split(']').next()?;
        // The last bar ends the row.
        (cells.len() == columns + 1).then(|| (number, name.to_owned()))
    };
    TEXT.lines().filter_map(row).collect()
}

/// [EXT-1]
#[test]
fn the_frames_of_the_text_are_those_of_the_codec() {
    let frames: Vec<_> = table(3)
        .into_iter()
        .filter(|(number, _)| *number < 0x40)
        .collect();
    let known = known_frames().map(|(code, name)| (code, name.to_owned()));
    assert_eq!(frames, known);
}

/// [ERR-2]
#[test]
fn the_error_codes_of_the_text_are_those_of_the_code() {
    let codes: Vec<_> = table(3)
        .into_iter()
        .filter(|(number, _)| *number >= 0x40)
        .collect();
    let known = [
        (code::NO_ERROR, "NO_ERROR"),
        (code::ENCODING, "ENCODING"),
        (code::UNEXPECTED, "UNEXPECTED"),
        (code::GRANT, "GRANT"),
        (code::FLOW_CONTROL, "FLOW_CONTROL"),
        (code::FINAL_SIZE, "FINAL_SIZE"),
        (code::STREAM, "STREAM"),
        (code::EXCESSIVE_LOAD, "EXCESSIVE_LOAD"),
        (code::JOIN, "JOIN"),
        (code::CONFLICT, "CONFLICT"),
        (code::ENDED, "ENDED"),
        (code::PATH_ENDED, "PATH_ENDED"),
    ];
    assert_eq!(codes, known.map(|(number, name)| (number, name.to_owned())));
}
