//! The objects are such as Kubernetes describes them: kubeconform, with nothing from the net.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    cases::CASES,
    helm::{place, said, tool},
    openapi,
};

#[test]
fn objects_are_what_kubernetes_takes() -> Result<()> {
    let schemas = tempfile::tempdir()?;
    openapi::write_schemas(&place("SLUICE_OPENAPI")?.join("swagger.json"), schemas.path())?;
    // Not Kubernetes' own: as much of it as the chart uses, strictly.
    let monitor = "servicemonitor-monitoring-v1.json";
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart").join(monitor);
    fs::copy(&source, schemas.path().join(monitor))
        .with_context(|| source.display().to_string())?;

    let location =
        format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", schemas.path().display());
    for case in CASES {
        let objects = schemas.path().join(format!("{}.yaml", case.name));
        fs::write(&objects, case.rendered(&[])?)?;
        let output = tool("kubeconform")?
            .args(["-strict", "-verbose", "-schema-location", &location])
            .arg(&objects)
            .output()
            .context("kubeconform could not be run")?;
        let report = said(output).with_context(|| format!("case {}", case.name))?;
        assert!(report.contains(" is valid") && !report.contains("skipped"), "{report}");
    }
    Ok(())
}
