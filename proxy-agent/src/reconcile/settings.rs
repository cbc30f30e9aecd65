//! What the operator decides about Services, as the control plane needs it.

use std::sync::Arc;

use proxy_common::{Algorithm, Config};

use crate::desired::{FrontendKinds, NodePortAddresses};

/// Settings of the control plane.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name: endpoints with this `nodeName` are local.
    pub node_name: Arc<str>,
    /// Which frontends are programmed: all, or all without `spec.externalIPs`.
    pub frontend_kinds: FrontendKinds,
    /// Which of the node's addresses serve NodePorts.
    pub node_port_addresses: NodePortAddresses,
    /// How an endpoint is picked unless the Service's annotation says otherwise.
    pub algorithm: Algorithm,
    /// Slots of a Maglev table. The agent's flag asks for a prime number, as the paper does.
    pub maglev_table_size: u32,
    /// What goes into `CONFIG`; the ServiceCIDRs are filled in by the reconciler.
    pub config: Config,
}
