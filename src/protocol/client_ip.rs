//! From which address a request comes, where proxies stand in between.
//!
//! `X-Forwarded-For` is whatever its sender likes, so it counts only as far as listed proxies have written it: each
//! appends the address that it was called from. The right-most one that is no listed proxy is the client; whatever
//! stands left of it is the client's own word.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use salvo::http::HeaderMap;

/// What proxies write.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address that a request comes from: `peer`, unless that is one of `proxies`.
pub(crate) fn of_client(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    let lists = headers.get_all(FORWARDED_FOR).into_iter().rev();
    let mut written = lists.flat_map(|list| list.to_str().unwrap_or_default().rsplit(','));
    while is_listed(client, proxies) {
        // Where a proxy wrote nothing, or nothing that is an address, it is the last one that is known.
        match written.next().and_then(parse) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// Whether connects from there are never held against it: those behind such an address can't be told apart, or are
/// this machine.
pub(crate) fn is_exempt(address: IpAddr, proxies: &[IpNet]) -> bool {
    address.is_loopback() || is_listed(address, proxies)
}

/// What counts as one address: in IPv6 the /64, of which one caller has all.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Whether it is one of the proxies.
pub(crate) fn is_listed(address: IpAddr, proxies: &[IpNet]) -> bool {
    proxies.iter().any(|network| network.contains(&address))
}

/// An address, perhaps with a port, perhaps in brackets.
fn parse(written: &str) -> Option<IpAddr> {
    let written = written.trim();
    let bare = || written.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || written.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = written.parse().ok().or_else(with_port).or_else(bare)?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lists: &[&str]) -> String {
        let proxies: Vec<IpNet> =
            ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).to_vec();
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append(FORWARDED_FOR, list.parse().unwrap());
        }
        of_client(peer.parse().unwrap(), &headers, &proxies).to_string()
    }

    #[test]
    fn the_right_most_that_is_no_proxy_is_the_client() {
        for (peer, lists, expected) in [
            ("203.0.113.1", &[][..], "203.0.113.1"),
            ("203.0.113.1", &["198.51.100.7"], "203.0.113.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.7,10.9.9.9"], "198.51.100.7"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.7, 10.9.9.9"], "198.51.100.7"),
            ("10.0.0.1", &["198.51.100.7", "10.9.9.9"], "198.51.100.7"),
            ("10.0.0.1", &["10.2.2.2, 10.3.3.3"], "10.2.2.2"),
            ("10.0.0.1", &["1.1.1.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, unknown, 10.3.3.3"], "10.3.3.3"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("::ffff:10.0.0.1", &["198.51.100.7:443"], "198.51.100.7"),
            ("::ffff:203.0.113.1", &["198.51.100.7"], "203.0.113.1"),
            ("fd00::1", &["[2001:db8::7]:443"], "2001:db8::7"),
            ("fd00::1", &["[2001:db8::7]"], "2001:db8::7"),
            ("fd00::1", &["2001:db8::7, ::ffff:10.1.1.1"], "2001:db8::7"),
        ] {
            assert_eq!(client(peer, lists), expected, "{peer} {lists:?}");
        }
    }

    #[test]
    fn six_counts_by_its_network() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("203.0.113.1"), "203.0.113.1");
        assert_eq!(network("::ffff:203.0.113.1"), "203.0.113.1");
    }
}
