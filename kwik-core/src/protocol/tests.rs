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

/// All sources that there are; whether that is all of the workspace, which a package by itself has
/// not.
fn visit_workspace(see: &mut dyn FnMut(&Path, &str)) -> bool {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = here.parent().unwrap_or(here);
    let mut is_whole = true;
    for folder in [
        here.join("src"),
        workspace.join("kwik-mio/src"),
        workspace.join("kwik-mio/tests"),
        workspace.join("kwik-sim/src"),
        workspace.join("kwik-sim/tests"),
    ] {
        is_whole &= folder.is_dir();
        if folder.is_dir() {
            let visited = visit(&folder, &mut |path, text| {
                see(path.strip_prefix(workspace).unwrap_or(path), text);
            });
            visited.expect("the sources can be read");
        }
    }
    is_whole
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
    let mut files = 0;
    visit_workspace(&mut |path, text| {
        files += 1;
        check(&path.display().to_string(), text);
    });
    assert!(files > 10);
}

/// The rules that the code cites, and those that tests cite.
#[derive(Default)]
struct Cited {
    code: BTreeSet<Rule>,
    tests: BTreeSet<Rule>,
}

impl Cited {
    fn add(&mut self, path: &Path, text: &str) {
        let is_test = |part: &str| part == "tests" || part == "tests.rs" || part == "kwik-sim";
        let mut parts = path.iter().filter_map(|part| part.to_str());
        // A file of code ends with its tests.
        let begin = text.find("#[cfg(test)]\nmod tests {");
        let (code, tests) = match begin {
            _ if parts.any(is_test) => ("", text),
            Some(begin) => text.split_at(begin),
            None => (text, ""),
        };
        self.code.extend(rules(code, "", ""));
        self.tests.extend(rules(tests, "", ""));
    }
}

#[test]
fn every_rule_is_cited_by_code_and_by_a_test() {
    let mut cited = Cited::default();
    let is_whole = visit_workspace(&mut |path, text| cited.add(path, text));
    if !is_whole {
        return;
    }
    // We may send unknown frames, and do not [EXT-5].
    let free = ("EXT".to_owned(), 5);
    let binding: BTreeSet<Rule> = laid_down()
        .into_iter()
        .filter(|rule| *rule != free)
        .collect();
    let lacking = |cited: &BTreeSet<Rule>| -> Vec<String> {
        let lacking = binding.difference(cited);
        lacking.map(|(name, n)| format!("[{name}-{n}]")).collect()
    };
    let none: [String; 0] = [];
    assert_eq!(lacking(&cited.code), none, "cited by no code");
    assert_eq!(lacking(&cited.tests), none, "cited by no test");
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
