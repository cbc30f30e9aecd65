//! What Kubernetes calls a Service port, for people and for the agent's next start.

use bytemuck::{Pod, Zeroable};

/// The value of `SERVICE_NAMES`, keyed by service id (`u32`). Names are NUL-padded; Kubernetes
/// limits a namespace and a Service to 63 bytes (RFC 1123 label) and a port name to 15 (RFC 6335).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct ServiceName {
    /// `metadata.namespace`.
    pub namespace: [u8; 64],
    /// `metadata.name`.
    pub name: [u8; 64],
    /// `spec.ports[].name`, empty when the port has none.
    pub port: [u8; 16],
}

const _: () = assert!(size_of::<ServiceName>() == 144);

/// `bytes` up to the first NUL, as text; `None` when it isn't UTF-8.
fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    core::str::from_utf8(bytes.get(..end)?).ok()
}

/// `text`, NUL-padded; `None` when it is too long to leave a NUL.
fn padded<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    bytes[..N - 1].get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    Some(bytes)
}

impl ServiceName {
    /// A name from its parts; `None` when one is longer than Kubernetes allows.
    #[must_use]
    pub fn new(namespace: &str, name: &str, port: &str) -> Option<Self> {
        Some(Self { namespace: padded(namespace)?, name: padded(name)?, port: padded(port)? })
    }

    /// Namespace, Service and port name; `None` when the element isn't text.
    #[must_use]
    pub fn parts(&self) -> Option<(&str, &str, &str)> {
        Some((text(&self.namespace)?, text(&self.name)?, text(&self.port)?))
    }
}

#[cfg(test)]
mod tests {
    use super::ServiceName;

    #[test]
    fn a_name_comes_back_and_a_long_one_is_refused() {
        let name = ServiceName::new("default", "kubernetes", "https").unwrap();
        assert_eq!(name.parts(), Some(("default", "kubernetes", "https")));
        assert_eq!(ServiceName::new("default", "kubernetes", "a-port-name-of-17"), None);
    }
}
