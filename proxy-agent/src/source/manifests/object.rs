//! Objects of all kinds that a manifest may hold, and what tells them apart.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    model::{
        EndpointSlice, NamespacedName, Node, Object, ObjectKind, ObjectRef, Service, ServiceCidr,
    },
    source::{Change, Event},
};

/// Kind and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum ObjectId {
    Service(NamespacedName),
    EndpointSlice(NamespacedName),
    Node(Arc<str>),
    ServiceCidr(Arc<str>),
}

impl ObjectId {
    /// The id of the object of `kind` that `manifest` names.
    pub(super) fn named_in(kind: ObjectKind, manifest: &Value) -> Option<Self> {
        let metadata = manifest.get("metadata")?;
        let name = metadata.get("name")?.as_str()?;
        let namespace = match metadata.get("namespace") {
            None | Some(Value::Null) => "default",
            Some(namespace) => namespace.as_str()?,
        };
        Some(match kind {
            ObjectKind::Service => Self::Service(NamespacedName::new(namespace, name)),
            ObjectKind::EndpointSlice => Self::EndpointSlice(NamespacedName::new(namespace, name)),
            ObjectKind::Node => Self::Node(name.into()),
            ObjectKind::ServiceCidr => Self::ServiceCidr(name.into()),
        })
    }

    /// For a message.
    pub(super) fn reference(&self) -> ObjectRef {
        let (kind, name) = match self {
            Self::Service(name) => (ObjectKind::Service, name.to_string().into()),
            Self::EndpointSlice(name) => (ObjectKind::EndpointSlice, name.to_string().into()),
            Self::Node(name) => (ObjectKind::Node, name.clone()),
            Self::ServiceCidr(name) => (ObjectKind::ServiceCidr, name.clone()),
        };
        ObjectRef { kind, name }
    }

    /// That it is gone.
    pub(super) fn deleted(self) -> Event {
        match self {
            Self::Service(name) => Event::Service(Change::Deleted(name)),
            Self::EndpointSlice(name) => Event::EndpointSlice(Change::Deleted(name)),
            Self::Node(name) => Event::Node(Change::Deleted(name)),
            Self::ServiceCidr(name) => Event::ServiceCidr(Change::Deleted(name)),
        }
    }
}

/// An object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ManifestObject {
    Service(Box<Service>),
    EndpointSlice(EndpointSlice),
    Node(Node),
    ServiceCidr(ServiceCidr),
}

impl ManifestObject {
    pub(super) fn id(&self) -> ObjectId {
        match self {
            Self::Service(service) => ObjectId::Service(service.key()),
            Self::EndpointSlice(slice) => ObjectId::EndpointSlice(slice.key()),
            Self::Node(node) => ObjectId::Node(node.key()),
            Self::ServiceCidr(cidr) => ObjectId::ServiceCidr(cidr.key()),
        }
    }

    /// That it looks like this now.
    pub(super) fn applied(self) -> Event {
        match self {
            Self::Service(service) => Event::Service(Change::Applied(*service)),
            Self::EndpointSlice(slice) => Event::EndpointSlice(Change::Applied(slice)),
            Self::Node(node) => Event::Node(Change::Applied(node)),
            Self::ServiceCidr(cidr) => Event::ServiceCidr(Change::Applied(cidr)),
        }
    }
}

impl From<Service> for ManifestObject {
    fn from(service: Service) -> Self {
        Self::Service(Box::new(service))
    }
}

impl From<EndpointSlice> for ManifestObject {
    fn from(slice: EndpointSlice) -> Self {
        Self::EndpointSlice(slice)
    }
}

impl From<Node> for ManifestObject {
    fn from(node: Node) -> Self {
        Self::Node(node)
    }
}

impl From<ServiceCidr> for ManifestObject {
    fn from(cidr: ServiceCidr) -> Self {
        Self::ServiceCidr(cidr)
    }
}
