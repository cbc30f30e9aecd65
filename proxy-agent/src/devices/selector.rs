//! `--uplink-devices` and `--workload-devices`: the operator's word on which device is what.
//!
//! Where globs are given for a role, they alone say which devices have it; a role without globs is
//! found. A device that globs of both roles match is an uplink. Pure; called by
//! [`crate::devices::inventory`].

use globset::{Glob, GlobSet, GlobSetBuilder};
use proxy_common::DeviceRole;

/// The operator's word.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    uplinks: Option<GlobSet>,
    workloads: Option<GlobSet>,
}

/// A glob that isn't one.
#[derive(Debug, thiserror::Error)]
#[error("--{flag}: {glob:?}: {source}: give names of devices, in which * stands for anything")]
pub struct GlobError {
    /// The flag's name.
    pub flag: &'static str,
    /// The glob.
    pub glob: String,
    /// What is wrong with it.
    pub source: globset::Error,
}

impl Selector {
    /// From the globs of both flags; none means that the role is found.
    ///
    /// # Errors
    /// When a glob isn't one.
    pub fn new(uplinks: &[String], workloads: &[String]) -> Result<Self, GlobError> {
        Ok(Self {
            uplinks: set("uplink-devices", uplinks)?,
            workloads: set("workload-devices", workloads)?,
        })
    }

    /// The role of the device `name`; `found` is what it looks like.
    #[must_use]
    pub fn role(&self, name: &str, found: Option<DeviceRole>) -> Option<DeviceRole> {
        let asked = |globs: &Option<GlobSet>| globs.as_ref().is_some_and(|set| set.is_match(name));
        if asked(&self.uplinks) {
            Some(DeviceRole::Uplink)
        } else if asked(&self.workloads) {
            Some(DeviceRole::Workload)
        } else {
            found.filter(|role| match role {
                DeviceRole::Uplink => self.uplinks.is_none(),
                DeviceRole::Workload => self.workloads.is_none(),
            })
        }
    }
}

fn set(flag: &'static str, globs: &[String]) -> Result<Option<GlobSet>, GlobError> {
    if globs.is_empty() {
        return Ok(None);
    }
    let failed = |glob: &str| {
        let glob = glob.to_owned();
        move |source| GlobError { flag, glob, source }
    };
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(Glob::new(glob).map_err(failed(glob))?);
    }
    set.build().map(Some).map_err(failed(&globs.join(",")))
}

#[cfg(test)]
mod tests {
    use proxy_common::DeviceRole::{Uplink, Workload};

    use super::Selector;

    fn selector(uplinks: &[&str], workloads: &[&str]) -> Selector {
        let owned = |globs: &[&str]| globs.iter().map(ToString::to_string).collect::<Vec<_>>();
        Selector::new(&owned(uplinks), &owned(workloads)).unwrap()
    }

    #[test]
    fn without_globs_a_role_is_found() {
        assert_eq!(selector(&[], &[]).role("eth0", Some(Uplink)), Some(Uplink));
        assert_eq!(selector(&["eth*"], &[]).role("veth1", Some(Workload)), Some(Workload));
    }

    #[test]
    fn globs_say_alone_who_has_their_role() {
        let selector = selector(&["eth*", "bond0"], &["cali*"]);
        assert_eq!(selector.role("eth1", None), Some(Uplink));
        assert_eq!(selector.role("wg0", Some(Uplink)), None);
        assert_eq!(selector.role("cali123", Some(Uplink)), Some(Workload));
        assert_eq!(selector.role("veth1", Some(Workload)), None);
    }

    #[test]
    fn a_bad_glob_is_named_with_its_flag() {
        let error = Selector::new(&["eth[".to_owned()], &[]).unwrap_err().to_string();
        assert!(error.starts_with("--uplink-devices: \"eth[\":"), "{error}");
    }
}
