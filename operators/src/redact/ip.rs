//! Internet addresses: four octets (RFC 791) or eight groups of hexadecimal digits (RFC 4291), but for those that name nobody:
//! unspecified, loopback, broadcast, masks. Four small numbers are a version unless a word says otherwise.

use super::scan::{digit_runs, has_context, has_word, is_word, label_before, note};
use super::{Found, Kind, Recogniser, Text};
use std::net::{Ipv4Addr, Ipv6Addr};

const CONTEXT: &[&str] = &[
    "address",
    "addr",
    "client",
    "connect",
    "connected",
    "connection",
    "dns",
    "endpoint",
    "from",
    "gateway",
    "host",
    "hostname",
    "http",
    "https",
    "ip",
    "ipv4",
    "ipv6",
    "listen",
    "login",
    "node",
    "peer",
    "ping",
    "proxy",
    "rank0",
    "remote",
    "route",
    "server",
    "ssh",
    "subnet",
    "tcp",
    "udp",
    "upstream",
    "vpn",
];
const VERSIONS: &[&str] = &[
    "build", "cuda", "cudnn", "driver", "nccl", "release", "torch", "v", "ver", "version",
    "versions",
];
/// Octets no larger than this may be a version.
const VERSION_MAX: u8 = 31;

/// Finds internet addresses.
#[derive(Default)]
pub(super) struct Ip {
    /// Lets addresses of private networks be (RFC 1918, RFC 4193, link-local): those of our own servers, in what we say.
    pub(super) keeps_private: bool,
}

impl Recogniser for Ip {
    fn kind(&self) -> Kind {
        Kind::Ip
    }

    fn reads_identifiers(&self) -> bool {
        false
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.has_dot() && text.digits >= 4 || text.has_colon()
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let bytes = text.bytes();
        if text.has_dot() && text.digits >= 4 {
            for (start, _) in digit_runs(bytes) {
                if let Some(end) = self.v4(text.text, start) {
                    note(Kind::Ip, start, end, found);
                }
            }
        }
        if text.has_colon() {
            self.v6(text.text, found);
        }
    }
}

impl Ip {
    fn v4(&self, text: &str, start: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        let before = start.checked_sub(1).map(|at| bytes[at]);
        if before.is_some_and(|byte| is_word(byte) || b"._".contains(&byte)) {
            return None;
        }
        let length = bytes[start..]
            .iter()
            .take(16)
            .take_while(|byte| byte.is_ascii_digit() || **byte == b'.')
            .count();
        let written = text.get(start..start + length)?.trim_end_matches('.');
        let end = start + written.len();
        if bytes
            .get(end)
            .is_some_and(|byte| is_word(*byte) || *byte == b'_')
        {
            return None;
        }
        let address: Ipv4Addr = written.parse().ok()?;
        let octets = address.octets();
        let names_nobody = address.is_unspecified()
            || address.is_loopback()
            || address.is_broadcast()
            || octets[0] == 255
            || octets[0] == 0
            || self.keeps_private && (address.is_private() || address.is_link_local());
        let label = label_before(bytes, start);
        let near = &bytes[start.saturating_sub(12)..start];
        let is_version =
            has_word(label, VERSIONS) || has_word(near, VERSIONS) || near.ends_with(b"==");
        let could_be = octets.iter().all(|octet| *octet <= VERSION_MAX);
        if names_nobody
            || (is_version || could_be) && !has_context(bytes, start, end, CONTEXT)
            || is_version && could_be
        {
            return None;
        }
        Some(end)
    }

    fn v6(&self, text: &str, found: &mut Vec<Found>) {
        let bytes = text.as_bytes();
        let belongs = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b':' || *byte == b'.';
        let mut at = 0;
        while let Some(offset) = bytes[at..].iter().position(belongs) {
            let start = at + offset;
            let end = bytes[start..]
                .iter()
                .position(|byte| !belongs(byte))
                .map_or(bytes.len(), |length| start + length);
            at = end;
            let outside =
                |byte: Option<&u8>| byte.is_none_or(|byte| !is_word(*byte) && *byte != b'_');
            let before = start.checked_sub(1).map(|place| &bytes[place]);
            if end - start < 6 || end - start > 64 || !outside(before) || !outside(bytes.get(end)) {
                continue;
            }
            let written = text[start..end].trim_end_matches('.');
            let written = match written.strip_suffix(':') {
                Some(shorter) if !shorter.ends_with(':') => shorter,
                _ => written,
            };
            if is_v6(written, self.keeps_private) {
                note(Kind::Ip, start, start + written.len(), found);
            }
        }
    }
}

/// An address of somebody, and one that is not just numbers with colons between.
fn is_v6(written: &str, keeps_private: bool) -> bool {
    let Ok(address) = written.parse::<Ipv6Addr>() else {
        return false;
    };
    if keeps_private && (address.is_unique_local() || address.is_unicast_link_local()) {
        return false;
    }
    let groups = written.split(':').filter(|group| !group.is_empty());
    let long = groups.clone().any(|group| group.len() >= 3);
    long && groups.count() >= 2 && !address.is_unspecified() && !address.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    /// 192.0.2.0/24, 198.51.100.0/24 and 203.0.113.0/24 (RFC 5737), 2001:db8::/32 (RFC 3849) are kept for documentation.
    #[test]
    fn addresses_are_found() {
        for (text, address) in [
            ("from 192.0.2.17.", "192.0.2.17"),
            ("http://198.51.100.3:8080/x", "198.51.100.3"),
            ("peer=203.0.113.250", "203.0.113.250"),
            ("host 10.0.0.1 went", "10.0.0.1"),
            (
                "at 2001:db8::8a2e:370:7334, port",
                "2001:db8::8a2e:370:7334",
            ),
            ("[2001:db8:0:1:1:1:1:1]:443", "2001:db8:0:1:1:1:1:1"),
            ("fe80::1ff:fe23:4567:890a%eth0", "fe80::1ff:fe23:4567:890a"),
        ] {
            finds(&Ip::default(), text, address);
        }
    }

    #[test]
    fn our_own_servers_may_be_named_in_what_we_say() {
        let ours = Ip {
            keeps_private: true,
        };
        finds_nothing(&ours, "broker 10.0.0.1:9092 and host fd00::aaaa:1 are gone");
        finds(&ours, "client 192.0.2.17", "192.0.2.17");
    }

    #[test]
    fn versions_times_and_nobody_are_none() {
        for text in [
            "torch==2.11.0.1",
            "driver version 550.54.15.1",
            "cudnn 9.1.0.70",
            "v1.2.3.4",
            "2.4.1.0",
            "127.0.0.1:9464",
            "0.0.0.0",
            "255.255.255.0",
            "12:34:56",
            "std::fs::read",
            "::1",
            "1:2:3:4:5:6:7:8",
            "1.2.3.4.5",
            "256.1.1.1",
        ] {
            finds_nothing(&Ip::default(), text);
        }
    }
}
