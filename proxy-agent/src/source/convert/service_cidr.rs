//! ServiceCIDRs.

use k8s_openapi::api::networking::v1::ServiceCIDR as ApiServiceCidr;

use crate::model::{ObjectKind, ServiceCidr};

use super::{Converted, Converter, SUBDOMAIN_MAX, cluster_wide, is_usable};

impl Converter {
    /// A ServiceCIDR.
    pub(in crate::source) fn service_cidr(
        &mut self,
        object: &ApiServiceCidr,
    ) -> Converted<ServiceCidr> {
        let (name, mut fields) = cluster_wide(ObjectKind::ServiceCidr, &object.metadata);
        if !is_usable(&name, "metadata.name", SUBDOMAIN_MAX, &mut fields) {
            return (None, fields.into_problems());
        }
        let cidrs = object.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
        let cidrs = cidrs
            .enumerate()
            .filter_map(|(i, text)| fields.cidr(&format!("spec.cidrs[{i}]"), text))
            .collect();
        (Some(ServiceCidr { name, cidrs }), fields.into_problems())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Converter;

    #[test]
    fn a_bad_prefix_is_skipped_and_told() {
        let object = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16", "fd00::/129"]}});
        let object = serde_json::from_value(object).unwrap();
        let (cidr, problems) = Converter::default().service_cidr(&object);
        assert_eq!(cidr.unwrap().cidrs.len(), 1);
        assert_eq!(
            problems[0].to_string(),
            "ServiceCIDR kubernetes: spec.cidrs[1] is \"fd00::/129\": not an address prefix such as 10.0.0.0/8: its prefix length is not a number from 0 to 128; it is skipped"
        );
    }
}
