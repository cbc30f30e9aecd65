//! kube-apiserver, and kube-controller-manager with the controllers that Services need.

use anyhow::Result;

use super::{ControlPlane, PORT, certificates::AUTHORITY, etcd, programs::program};
use crate::{Family, addresses::SERVICE_CIDRS};

/// The controllers that turn Services and Pods into EndpointSlices.
const CONTROLLERS: &str = "endpointslice-controller,endpointslice-mirroring-controller";

impl ControlPlane {
    /// Starts kube-apiserver (again) and waits until it serves.
    pub fn start_api_server(&mut self) -> Result<()> {
        let mut command = self.host.command(program("kube-apiserver")?)?;
        let file =
            |flag: &str, name: &str| format!("--{flag}={}", self.certificates.path(name).display());
        command
            .arg(format!("--etcd-servers={}", etcd::url()))
            .arg(format!("--secure-port={PORT}"))
            .arg(format!(
                "--bind-address={}",
                if self.settings.relayed { "127.0.0.1" } else { "::" }
            ))
            .arg(format!("--advertise-address={}", self.host.address(Family::V4)))
            .arg(format!("--service-cluster-ip-range={}", SERVICE_CIDRS.join(",")))
            .arg(file("tls-cert-file", "server.crt"))
            .arg(file("tls-private-key-file", "server.key"))
            .arg(format!("--cert-dir={}", self.certificates.directory().display()))
            .arg(file("client-ca-file", AUTHORITY))
            .arg(file("service-account-key-file", "accounts.pub"))
            .arg(file("service-account-signing-key-file", "accounts.key"))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!("--token-auth-file={}", self.access.tokens().display()))
            .arg("--authorization-mode=RBAC")
            .arg(format!("--audit-policy-file={}", self.directory.join("audit.policy").display()))
            .arg(format!("--audit-log-path={}", self.log("audit").display()))
            // Pods need no account of their own here.
            .arg("--disable-admission-plugins=ServiceAccount")
            .args(&self.settings.flags);
        let mut process = self.launch("kube-apiserver", command)?;
        self.wait_until("kube-apiserver", &mut process, || self.api.text("/readyz").is_ok())?;
        self.server = Some(process);
        Ok(())
    }

    /// Starts kube-controller-manager, with the controllers of EndpointSlices and no others, and
    /// doesn't wait: their work shows.
    pub fn start_controllers(&mut self) -> Result<()> {
        let kubeconfig = self.access.administrator(&format!("https://127.0.0.1:{PORT}"));
        let kubeconfig = self.write_kubeconfig("controllers", &kubeconfig)?;
        let mut command = self.host.command(program("kube-controller-manager")?)?;
        command
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--controllers={CONTROLLERS}"))
            .arg("--leader-elect=false")
            .arg("--use-service-account-credentials=false")
            .arg(format!("--cert-dir={}", self.certificates.directory().display()));
        self.controllers = Some(self.launch("kube-controller-manager", command)?);
        Ok(())
    }
}
