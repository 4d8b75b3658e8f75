//! `kwik://HOST[:PORT]/path`.
//!
//! Owns the reading of URLs. Never asks a name server.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::file::FilePath;

/// Where a primary listens if the URL does not say.
pub(super) const DEFAULT_PORT: u16 = 4433;

const SCHEME: &str = "kwik://";

/// Which file of which server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KwikUrl {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) path: FilePath,
}

/// The server of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Ip(IpAddr),
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Why a text is not the URL of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error("a URL begins with kwik://")]
    Scheme,
    #[error("user names are not part of a kwik URL")]
    UserInfo,
    #[error("a query is not part of a kwik URL (a question mark in a name is written %3F)")]
    Query,
    #[error("a fragment is not part of a kwik URL (a hash sign in a name is written %23)")]
    Fragment,
    #[error("the URL names no host")]
    NoHost,
    #[error("the host is neither a name nor an address (IPv6 addresses stand in brackets)")]
    Host,
    #[error("the port is not a number from 1 to 65535")]
    Port,
    #[error("the URL names no file")]
    NoPath,
    #[error("a percent sign is followed by two hexadecimal digits (itself it is written %25)")]
    Percent,
    #[error("the path is not UTF-8 once it is decoded")]
    NotUtf8,
    #[error("no file name contains a NUL character")]
    Nul,
    #[error("the path is too long")]
    TooLong,
}

impl FromStr for KwikUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = match text.split_at_checked(SCHEME.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => rest,
            Some(_) | None => return Err(UrlError::Scheme),
        };
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        if rest.contains('?') {
            return Err(UrlError::Query);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = parse_authority(authority)?;
        let path = decode_path(path)?;
        Ok(Self { host, port, path })
    }
}

fn parse_authority(authority: &str) -> Result<(Host, u16), UrlError> {
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (ip, port) = bracketed.split_once(']').ok_or(UrlError::Host)?;
        let ip: Ipv6Addr = ip.parse().map_err(|_| UrlError::Host)?;
        let port = match port.strip_prefix(':') {
            Some(port) => parse_port(port)?,
            None if port.is_empty() => DEFAULT_PORT,
            None => return Err(UrlError::Host),
        };
        return Ok((Host::Ip(ip.into()), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => return Err(UrlError::Host),
        Some((host, port)) => (host, parse_port(port)?),
        None => (authority, DEFAULT_PORT),
    };
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    if let Ok(ip) = host.parse() {
        return Ok((Host::Ip(ip), port));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !host.chars().all(is_name) {
        return Err(UrlError::Host);
    }
    Ok((Host::Name(host.into()), port))
}

fn parse_port(port: &str) -> Result<u16, UrlError> {
    // `parse` would take a sign.
    if !port.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(UrlError::Port);
    }
    match port.parse() {
        Ok(0) | Err(_) => Err(UrlError::Port),
        Ok(port) => Ok(port),
    }
}

/// Decodes once: what still looks encoded is part of the name.
fn decode_path(encoded: &str) -> Result<FilePath, UrlError> {
    let is_escape = |after: &str| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !encoded.split('%').skip(1).all(is_escape) {
        return Err(UrlError::Percent);
    }
    let path = percent_decode_str(encoded)
        .decode_utf8()
        .map_err(|_| UrlError::NotUtf8)?;
    if path.is_empty() {
        return Err(UrlError::NoPath);
    }
    if path.contains('\0') {
        return Err(UrlError::Nul);
    }
    FilePath::new(path).map_err(|_| UrlError::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (String, u16, String) {
        let url: KwikUrl = url.parse().expect("a URL");
        (url.host.to_string(), url.port, url.path.as_str().into())
    }

    fn error(url: &str) -> UrlError {
        url.parse::<KwikUrl>().expect_err("not a URL")
    }

    #[test]
    fn names_and_addresses_with_and_without_port() {
        for (url, host, port) in [
            ("kwik://example.org/a", "example.org", 4433),
            ("KWIK://example.org:1/a", "example.org", 1),
            ("kwik://127.0.0.1:65535/a", "127.0.0.1", 65535),
            ("kwik://[::1]/a", "::1", 4433),
            ("kwik://[2001:db8::7]:99/a", "2001:db8::7", 99),
        ] {
            assert_eq!(parts(url), (host.into(), port, "a".into()), "{url}");
        }
    }

    #[test]
    fn the_path_is_decoded_exactly_once() {
        for (url, path) in [
            ("kwik://h/a/b%20c", "a/b c"),
            ("kwik://h/a%2Fb", "a/b"),
            ("kwik://h/%2e%2e/x", "../x"),
            ("kwik://h/%252e%252e/x", "%2e%2e/x"),
            ("kwik://h/100%25", "100%"),
            ("kwik://h/%C3%A9 é", "é é"),
            ("kwik://h//etc/passwd", "/etc/passwd"),
            ("kwik://h/a%3Fb%23c", "a?b#c"),
            ("kwik://h/a+b:c@d", "a+b:c@d"),
        ] {
            assert_eq!(parts(url).2, path, "{url}");
        }
    }

    #[test]
    fn what_is_not_a_url_of_a_file_is_refused_for_its_own_reason() {
        for (url, reason) in [
            ("", UrlError::Scheme),
            ("http://h/a", UrlError::Scheme),
            ("kwik:/h/a", UrlError::Scheme),
            ("héllo", UrlError::Scheme),
            ("kwik://", UrlError::NoHost),
            ("kwik:///a", UrlError::NoHost),
            ("kwik://:99/a", UrlError::NoHost),
            ("kwik://h", UrlError::NoPath),
            ("kwik://h/", UrlError::NoPath),
            ("kwik://u@h/a", UrlError::UserInfo),
            ("kwik://u:p@h/a", UrlError::UserInfo),
            ("kwik://h/a?b", UrlError::Query),
            ("kwik://h/a#b", UrlError::Fragment),
            ("kwik://h:/a", UrlError::Port),
            ("kwik://h:0/a", UrlError::Port),
            ("kwik://h:+1/a", UrlError::Port),
            ("kwik://h:65536/a", UrlError::Port),
            ("kwik://::1/a", UrlError::Host),
            ("kwik://[::1/a", UrlError::Host),
            ("kwik://[::1]9/a", UrlError::Host),
            ("kwik://[h]/a", UrlError::Host),
            ("kwik://a b/c", UrlError::Host),
            ("kwik://h%41/c", UrlError::Host),
            ("kwik://h/%", UrlError::Percent),
            ("kwik://h/%4", UrlError::Percent),
            ("kwik://h/%zz", UrlError::Percent),
            ("kwik://h/%é1", UrlError::Percent),
            ("kwik://h/%ff", UrlError::NotUtf8),
            ("kwik://h/a%00b", UrlError::Nul),
        ] {
            assert_eq!(error(url), reason, "{url}");
        }
        assert_eq!(
            error(&format!("kwik://h/{}", "x".repeat(4097))),
            UrlError::TooLong
        );
    }
}
