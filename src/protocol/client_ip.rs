//! Finds the address of a client that sends its request through proxies.
//!
//! A client can write anything into `X-Forwarded-For`. Therefore Parlor believes only the addresses that its configured
//! proxies (`http.proxies`) have written. Each proxy appends the address of its own client. The right-most address that
//! is not a configured proxy is the client's address. The client itself may have written the addresses to the left of
//! this address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use salvo::http::HeaderMap;

/// The header to which proxies append addresses.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Returns the client's address. If `peer` (the address of the TCP connection) is not one of `proxies`, `peer` is the
/// client's address.
pub(crate) fn resolve(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    let lists = headers.get_all(FORWARDED_FOR).into_iter().rev();
    let mut written = lists.flat_map(|list| list.to_str().unwrap_or_default().rsplit(','));
    while is_listed(client, proxies) {
        // If a proxy wrote no valid address, the proxy's own address is the last known address.
        match written.next().and_then(parse) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// Returns whether refused connects from an address are never counted. Refused connects are not counted for a proxy,
/// because Parlor could not distinguish the clients behind the proxy. They are not counted for a loopback address
/// either, because this address is the machine itself.
pub(crate) fn is_exempt(address: IpAddr, proxies: &[IpNet]) -> bool {
    address.is_loopback() || is_listed(address, proxies)
}

/// Returns the network that counts as one address. For IPv6 this is the /64 network, because one client usually owns
/// all addresses of a /64 network.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Returns whether an address belongs to one of the proxies.
pub(crate) fn is_listed(address: IpAddr, proxies: &[IpNet]) -> bool {
    proxies.iter().any(|network| network.contains(&address))
}

/// Parses an address, which may have a port or stand in brackets.
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
        resolve(peer.parse().unwrap(), &headers, &proxies).to_string()
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
