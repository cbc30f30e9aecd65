//! From Kubernetes types to [`crate::model`]: parsed, pruned, and told what is wrong.
//!
//! Beside the two sources this is the only place that knows Kubernetes types. A bad value is
//! skipped with a [`Problem`] and the rest of the object stays, as SEMANTICS §1 asks; only an
//! object without a usable name is left out as a whole.

mod annotations;
mod endpoint_slice;
mod fields;
mod load_balancer;
mod node;
mod service;
mod service_cidr;

use std::{collections::HashSet, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::model::{NamespacedName, ObjectKind, ObjectRef, Problem, Trouble};

use fields::Fields;

/// The label that hands an object to another proxy.
pub(super) const PROXY_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// The label of what belongs to a headless Service.
pub(super) const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
/// The label that names an EndpointSlice's Service.
pub(super) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// The label that names a node's zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// The taint of a node that the cluster autoscaler is about to remove.
const LEAVING_TAINT: &str = "ToBeDeletedByClusterAutoscaler";

/// RFC 1123 label: what Kubernetes allows a namespace and a Service.
const LABEL_MAX: usize = 63;
/// RFC 1123 subdomain: what Kubernetes allows most other objects.
const SUBDOMAIN_MAX: usize = 253;

/// Names that are kept before anybody asks whether they are still needed.
const NAMES: usize = 1024;

/// What came of an object: the object, unless it has no usable name, and what is wrong with it.
pub(super) type Converted<T> = (Option<T>, Vec<Problem>);

/// Converts objects, keeping one copy of names that occur again and again.
#[derive(Debug, Default)]
pub(super) struct Converter {
    names: HashSet<Arc<str>>,
    /// When there are so many names, those that nobody has any more are forgotten.
    room: usize,
}

impl Converter {
    fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        if self.names.len() >= self.room {
            self.names.retain(|name| Arc::strong_count(name) > 1);
            self.room = (2 * self.names.len()).max(NAMES);
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        name
    }

    fn namespaced(&mut self, kind: ObjectKind, metadata: &ObjectMeta) -> (NamespacedName, Fields) {
        let namespace = self.intern(metadata.namespace.as_deref().unwrap_or("default"));
        let name = NamespacedName::new(namespace, metadata.name.as_deref().unwrap_or_default());
        let object = ObjectRef { kind, name: name.to_string().into() };
        (name, Fields::of(object))
    }
}

fn cluster_wide(kind: ObjectKind, metadata: &ObjectMeta) -> (Arc<str>, Fields) {
    let name: Arc<str> = metadata.name.as_deref().unwrap_or_default().into();
    (name.clone(), Fields::of(ObjectRef { kind, name }))
}

fn label<'a>(metadata: &'a ObjectMeta, label: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(label).map(String::as_str)
}

/// Whether `name` can be an object's name; tells if not.
fn is_usable(name: &str, field: &str, max: usize, fields: &mut Fields) -> bool {
    let usable = (1..=max).contains(&name.len());
    if !usable {
        fields.problem(field, name, Trouble::Name { max });
    }
    usable
}

#[cfg(test)]
mod tests {
    use super::{Converter, NAMES};

    #[test]
    fn names_are_kept_once_and_no_longer_than_needed() {
        let mut converter = Converter::default();
        let kept = converter.intern("kept");
        assert!(std::sync::Arc::ptr_eq(&kept, &converter.intern("kept")));
        for i in 0..10 * NAMES {
            converter.intern(&i.to_string());
        }
        assert!(converter.names.len() <= 2 * NAMES, "{}", converter.names.len());
        assert!(std::sync::Arc::ptr_eq(&kept, &converter.intern("kept")));
    }
}
