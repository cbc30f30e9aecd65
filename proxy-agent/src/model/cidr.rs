//! Address prefixes, as Kubernetes writes them (`10.96.0.0/12`).

use std::{fmt, net::IpAddr, str::FromStr};

use proxy_common::{Address, Prefix};

use super::Family;

/// An address prefix. Bits past the prefix are zero, however it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    network: IpAddr,
    bits: u8,
}

/// Why a text is no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// No `/` in it.
    #[error("it has no \"/\" and prefix length")]
    NoLength,
    /// What stands before the `/` is no address.
    #[error("what stands before the \"/\" is no IP address")]
    Address,
    /// What stands behind the `/` is no number, or too large for the family.
    #[error("its prefix length is not a number from 0 to {max}")]
    Length {
        /// The largest prefix length of the family.
        max: u8,
    },
}

impl Cidr {
    /// The prefix of the first `bits` of `address`; `None` when it has fewer.
    #[must_use]
    pub fn new(address: IpAddr, bits: u8) -> Option<Self> {
        let network = match address {
            IpAddr::V4(address) if bits <= 32 => {
                IpAddr::V4((address.to_bits() & mask_v4(bits)).into())
            }
            IpAddr::V6(address) if bits <= 128 => {
                IpAddr::V6((address.to_bits() & mask_v6(bits)).into())
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return None,
        };
        Some(Self { network, bits })
    }

    /// The network address.
    #[must_use]
    pub const fn network(self) -> IpAddr {
        self.network
    }

    /// How many leading bits of the address count.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// Its family.
    #[must_use]
    pub const fn family(self) -> Family {
        Family::of(self.network)
    }

    /// Whether `address` is inside.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                address.to_bits() & mask_v4(self.bits) == network.to_bits()
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                address.to_bits() & mask_v6(self.bits) == network.to_bits()
            }
            _ => false,
        }
    }

    /// As the datapath compares it; `None` when it is of the other family.
    #[must_use]
    pub fn to_prefix<A: Address>(self) -> Option<Prefix<A>> {
        let mask = match self.network {
            IpAddr::V4(_) => IpAddr::V4(mask_v4(self.bits).into()),
            IpAddr::V6(_) => IpAddr::V6(mask_v6(self.bits).into()),
        };
        Some(Prefix { network: A::from_ip(self.network)?, mask: A::from_ip(mask)? })
    }
}

const fn mask_v4(bits: u8) -> u32 {
    match bits {
        0 => 0,
        bits => u32::MAX << (32 - bits),
    }
}

const fn mask_v6(bits: u8) -> u128 {
    match bits {
        0 => 0,
        bits => u128::MAX << (128 - bits),
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, bits) = text.split_once('/').ok_or(CidrError::NoLength)?;
        let address: IpAddr = address.parse().map_err(|_| CidrError::Address)?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        bits.parse()
            .ok()
            .filter(|_| !bits.starts_with('+'))
            .and_then(|bits| Self::new(address, bits))
            .ok_or(CidrError::Length { max })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cidr, CidrError};

    #[test]
    fn bits_past_the_prefix_do_not_count() {
        let cidr: Cidr = "10.96.1.2/12".parse().unwrap();
        assert_eq!(cidr.to_string(), "10.96.0.0/12");
        assert!(cidr.contains("10.111.255.255".parse().unwrap()));
        assert!(!cidr.contains("10.112.0.0".parse().unwrap()));
        assert!(!cidr.contains("::1".parse().unwrap()));
    }

    #[test]
    fn the_whole_family_is_a_prefix() {
        let all: Cidr = "::/0".parse().unwrap();
        assert!(all.contains("fd00::1".parse().unwrap()));
        assert!(!all.contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_prefix_says_why() {
        assert_eq!("10.0.0.0".parse::<Cidr>(), Err(CidrError::NoLength));
        assert_eq!("10.0.0/8".parse::<Cidr>(), Err(CidrError::Address));
        assert_eq!("10.0.0.0/33".parse::<Cidr>(), Err(CidrError::Length { max: 32 }));
        assert_eq!("fd00::/+9".parse::<Cidr>(), Err(CidrError::Length { max: 128 }));
    }
}
