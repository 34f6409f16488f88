//! Which addresses are not public, by the registries of special addresses that IANA keeps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is that is not simply a public one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// This host.
    Loopback,
    /// A private network (RFC 1918).
    Private,
    /// A private network of IPv6 (ULA).
    UniqueLocal,
    /// Shared by a carrier's customers (CGNAT, RFC 6598).
    Shared,
    /// This link only.
    LinkLocal,
    /// The site-local addresses of old.
    SiteLocal,
    /// Where a cloud tells its machines their secrets.
    Metadata,
    /// No address at all, or "this network".
    Unspecified,
    /// Many.
    Multicast,
    /// Everybody on the link.
    Broadcast,
    /// For examples in texts.
    Documentation,
    /// For benchmarks of networks.
    Benchmarking,
    /// Kept for later, or for protocols.
    Reserved,
    /// NAT64 by its well-known prefix: an IPv4 address behind a translator.
    Nat64,
    /// Another form in which an IPv4 address hides: mapped, compatible, 6to4, Teredo, ISATAP, local NAT64.
    Disguised,
}

impl Class {
    /// What the address is; `None` for a public one.
    pub fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }

    /// Whether a list of allowed targets can allow it. Nothing that answers an HTTP call is anywhere else, but for
    /// metadata, which no customer's URL must ever reach.
    pub const fn can_be_allowed(self) -> bool {
        !matches!(
            self,
            Self::Metadata
                | Self::Unspecified
                | Self::Multicast
                | Self::Broadcast
                | Self::Disguised
        )
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::UniqueLocal => "unique local",
            Self::Shared => "carrier-grade NAT",
            Self::LinkLocal => "link-local",
            Self::SiteLocal => "site-local",
            Self::Metadata => "metadata of a cloud",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::Reserved => "reserved",
            Self::Nat64 => "NAT64",
            Self::Disguised => "an IPv4 address in disguise",
        })
    }
}

/// Where clouds tell secrets: AWS and most others, its containers and pods, Azure's wire server (which looks public),
/// Alibaba, Oracle.
const METADATA_V4: [[u8; 4]; 6] = [
    [169, 254, 169, 254],
    [169, 254, 170, 2],
    [169, 254, 170, 23],
    [168, 63, 129, 16],
    [100, 100, 100, 200],
    [192, 0, 0, 192],
];

/// The same over IPv6: AWS, its pods, Google, Scaleway.
const METADATA_V6: [Ipv6Addr; 4] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];

fn of_v4(address: Ipv4Addr) -> Option<Class> {
    let octets = address.octets();
    if METADATA_V4.contains(&octets) {
        return Some(Class::Metadata);
    }
    Some(match octets {
        [0, ..] => Class::Unspecified,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Class::Private,
        [100, 64..=127, ..] => Class::Shared,
        [127, ..] => Class::Loopback,
        [169, 254, ..] => Class::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Documentation,
        [198, 18..=19, ..] => Class::Benchmarking,
        [224..=239, ..] => Class::Multicast,
        [255, 255, 255, 255] => Class::Broadcast,
        // Kept for later; protocols (RFC 6890), AS112, AMT and the relays of 6to4.
        [240..=255, ..]
        | [192, 0, 0, _]
        | [192, 31, 196, _]
        | [192, 52, 193, _]
        | [192, 88, 99, _]
        | [192, 175, 48, _] => Class::Reserved,
        _ => return None,
    })
}

fn of_v6(address: Ipv6Addr) -> Option<Class> {
    if METADATA_V6.contains(&address) {
        return Some(Class::Metadata);
    }
    Some(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Class::Nat64,
        // Compatible, mapped, translated (SIIT), local NAT64, Teredo, 6to4, ISATAP.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 1, ..]
        | [0x2001, 0, ..]
        | [0x2002, ..]
        | [_, _, _, _, 0 | 0x200, 0x5efe, ..] => Class::Disguised,
        [0x2001, 2, 0, ..] => Class::Benchmarking,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Class::Documentation,
        [0x2001, 1..=0x1ff, ..] | [0x2620, 0x4f, 0x8000, ..] => Class::Reserved,
        [0x2000..=0x3fff, ..] => return None,
        [0xfc00..=0xfdff, ..] => Class::UniqueLocal,
        [0xfe80..=0xfebf, ..] => Class::LinkLocal,
        [0xfec0..=0xfeff, ..] => Class::SiteLocal,
        [0xff00..=0xffff, ..] => Class::Multicast,
        // Nothing outside 2000::/3 is routed.
        _ => Class::Reserved,
    })
}

/// The IPv4 address behind the well-known prefix of NAT64.
pub(crate) fn behind_nat64(address: Ipv6Addr) -> IpAddr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d).into()
}
