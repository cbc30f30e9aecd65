//! The addresses of one device, and which of them speaks for it.
//!
//! Pure. Kept by [`crate::devices::inventory`], filled by [`crate::devices::message`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The address.
    pub address: IpAddr,
    /// Bits of its prefix.
    pub prefix: u8,
    /// What the kernel thinks of it.
    pub standing: Standing,
}

/// What an address is good for, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Of global scope, and the first of its subnet (IPv4) or a lasting one (IPv6).
    Primary,
    /// Of global scope, beside another one of its subnet (IPv4), or of limited life (IPv6).
    Secondary,
    /// Of a scope smaller than global.
    Limited,
    /// Not for new connections: its preferred lifetime is over.
    Deprecated,
    /// Not usable yet, or never: it is being checked for a duplicate, or has one.
    Unusable,
}

/// The addresses of a device, in the order in which the kernel has told of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    assigned: Vec<Assigned>,
}

impl Addresses {
    /// Adds an address, or learns what has changed about it.
    pub fn put(&mut self, assigned: Assigned) {
        match self.assigned.iter_mut().find(|known| known.address == assigned.address) {
            Some(known) => *known = assigned,
            None => self.assigned.push(assigned),
        }
    }

    /// Forgets an address.
    pub fn remove(&mut self, address: IpAddr) {
        self.assigned.retain(|known| known.address != address);
    }

    /// Those that packets can be sent to.
    pub fn usable(&self) -> impl Iterator<Item = IpAddr> {
        let usable = self.assigned.iter().filter(|a| a.standing != Standing::Unusable);
        usable.map(|assigned| assigned.address)
    }

    /// Whether others are reached by it: an address has neighbours.
    #[must_use]
    pub fn has_subnet(&self) -> bool {
        self.assigned.iter().any(|a| is_global(&a.address) && a.has_neighbours())
    }

    /// The IPv4 address that speaks for the device: as the kernel would, the first primary one.
    #[must_use]
    pub fn primary_v4(&self) -> Option<Ipv4Addr> {
        let of_family = |a: &Assigned| match a.address {
            IpAddr::V4(v4) => Some((a.standing, v4)),
            IpAddr::V6(_) => None,
        };
        let candidates = self.speakers().filter_map(of_family);
        candidates.min_by_key(|(standing, _)| *standing).map(|(_, v4)| v4)
    }

    /// The IPv6 address that speaks for the device. IPv6 has no first one: of equals the lowest, so
    /// that it doesn't depend on the order in which they came.
    #[must_use]
    pub fn primary_v6(&self) -> Option<Ipv6Addr> {
        let of_family = |a: &Assigned| match a.address {
            IpAddr::V6(v6) => Some((a.standing, v6)),
            IpAddr::V4(_) => None,
        };
        self.speakers().filter_map(of_family).min().map(|(_, v6)| v6)
    }

    fn speakers(&self) -> impl Iterator<Item = &Assigned> {
        self.assigned.iter().filter(|a| is_global(&a.address) && a.standing != Standing::Unusable)
    }
}

impl Assigned {
    /// Its prefix holds other addresses.
    fn has_neighbours(&self) -> bool {
        self.prefix < if self.address.is_ipv4() { 32 } else { 128 }
    }
}

/// Neither loopback nor link-local.
#[must_use]
pub fn is_global(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Addresses, Assigned, Standing};

    fn addresses(list: &[(&str, Standing)]) -> Addresses {
        let mut addresses = Addresses::default();
        for (text, standing) in list {
            let address = text.parse().unwrap();
            addresses.put(Assigned { address, prefix: 24, standing: *standing });
        }
        addresses
    }

    fn v4(list: &[(&str, Standing)]) -> Option<String> {
        addresses(list).primary_v4().map(|address| address.to_string())
    }

    fn v6(list: &[(&str, Standing)]) -> Option<String> {
        addresses(list).primary_v6().map(|address| address.to_string())
    }

    use Standing::{Deprecated, Limited, Primary, Secondary, Unusable};

    #[test]
    fn the_first_primary_ipv4_address_speaks() {
        let of_two = [("192.0.2.9", Primary), ("192.0.2.3", Secondary), ("10.0.0.1", Primary)];
        assert_eq!(v4(&of_two).as_deref(), Some("192.0.2.9"));
        assert_eq!(v4(&[("10.0.0.1", Limited), ("10.0.0.2", Secondary)]).unwrap(), "10.0.0.2");
        assert_eq!(v4(&[("169.254.1.1", Primary), ("127.0.0.1", Primary)]), None);
    }

    #[test]
    fn an_ipv6_address_that_is_checked_or_deprecated_waits_for_others() {
        let list = [("2001:db8::1", Unusable), ("2001:db8::9", Primary), ("fe80::1", Primary)];
        assert_eq!(v6(&list).as_deref(), Some("2001:db8::9"));
        let list = [("2001:db8::1", Deprecated), ("2001:db8::5", Secondary)];
        assert_eq!(v6(&list).as_deref(), Some("2001:db8::5"));
        assert_eq!(v6(&[("2001:db8::1", Deprecated)]).as_deref(), Some("2001:db8::1"));
        assert_eq!(v6(&[("2001:db8::1", Unusable)]), None);
    }

    #[test]
    fn of_equal_ipv6_addresses_the_order_of_arrival_decides_nothing() {
        let list = [("2001:db8::2", Primary), ("2001:db8::1", Primary)];
        let other = [list[1], list[0]];
        assert_eq!(v6(&list), v6(&other));
    }

    #[test]
    fn an_address_that_passed_its_check_is_the_same_address() {
        let mut addresses = addresses(&[("2001:db8::1", Unusable)]);
        assert_eq!(addresses.usable().count(), 0);
        let address = "2001:db8::1".parse().unwrap();
        addresses.put(Assigned { address, prefix: 64, standing: Primary });
        assert_eq!(addresses.usable().collect::<Vec<_>>(), [address]);
        addresses.remove(address);
        assert_eq!(addresses, Addresses::default());
    }
}
