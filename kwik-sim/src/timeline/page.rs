//! The page: one file with everything in it.

use std::fmt::Write;

use super::Chart;

const HEAD: &str = include_str!("page/head.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// A page that shows a chart.
///
/// # Panics
///
/// Never: a chart is plain data.
#[must_use]
pub fn render(title: &str, chart: &Chart) -> String {
    let data = serde_json::to_string(chart).expect("plain data can be written");
    HEAD.replace("{{title}}", &escape(title))
        .replace("{{style}}", STYLE)
        .replace("{{script}}", SCRIPT)
        // Last: what it contains is nobody's placeholder.
        .replace("{{data}}", &inert(&data))
}

/// Text as it may stand in a page.
pub(super) fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
        escaped
    })
}

/// JSON as it may stand in a script element: without anything that could end it.
pub(super) fn inert(json: &str) -> String {
    json.chars().fold(String::new(), |mut inert, c| {
        if matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
            // Only within strings do they occur, and there this is the same character.
            let _ = write!(inert, "\\u{:04x}", u32::from(c));
        } else {
            inert.push(c);
        }
        inert
    })
}
