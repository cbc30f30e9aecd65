//! The certificates of a control plane: an authority, the API server's own certificate, one of the
//! agent, and the key that service accounts' tokens are signed with. Made anew for each.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use super::access::agent_user;

/// The authority's certificate, as clients need it.
pub(super) const AUTHORITY: &str = "authority.crt";

/// Files in a directory of their own.
pub(super) struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    /// Makes them, for a server that is reached at `addresses`.
    pub(super) fn make(directory: PathBuf, addresses: &[IpAddr]) -> Result<Self> {
        fs::create_dir(&directory).with_context(|| directory.display().to_string())?;
        let issuer = CertifiedIssuer::self_signed(authority()?, KeyPair::generate()?)?;
        let mut names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        names.extend(["localhost".to_owned(), "kubernetes.default.svc".to_owned()]);
        let mut server = CertificateParams::new(names)?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        let server_key = KeyPair::generate()?;
        let server = server.signed_by(&server_key, &issuer)?;
        let mut agent = CertificateParams::new(Vec::new())?;
        agent.distinguished_name.push(DnType::CommonName, agent_user());
        agent.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let agent_key = KeyPair::generate()?;
        let agent = agent.signed_by(&agent_key, &issuer)?;
        let accounts = KeyPair::generate()?;
        let made = Self { directory };
        for (name, text) in [
            (AUTHORITY, issuer.pem()),
            ("server.crt", server.pem()),
            ("server.key", server_key.serialize_pem()),
            ("agent.crt", agent.pem()),
            ("agent.key", agent_key.serialize_pem()),
            ("accounts.key", accounts.serialize_pem()),
            ("accounts.pub", accounts.public_key_pem()),
        ] {
            fs::write(made.path(name), text)
                .with_context(|| made.path(name).display().to_string())?;
        }
        Ok(made)
    }

    /// One of the files.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where the API server keeps certificates that it makes itself.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

fn authority() -> Result<CertificateParams> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "lab");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(authority)
}
