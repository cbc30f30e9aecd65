//! The OCI archive, unpacked: a directory for a container's root, and what its configuration says.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// What the image says about itself.
pub(crate) struct Image {
    pub(crate) entrypoint: Vec<String>,
    pub(crate) environment: Vec<String>,
}

/// Unpacks the image's one layer into `root`.
pub(crate) fn unpack(archive: &Path, directory: &Path, root: &Path) -> Result<Image> {
    tar(archive, directory)?;
    let index = json(&directory.join("index.json"))?;
    let manifest = json(&blob(directory, &index["manifests"][0])?)?;
    let configuration = json(&blob(directory, &manifest["config"])?)?;
    let layers = manifest["layers"].as_array().context("the manifest has no layers")?;
    ensure!(layers.len() == 1, "{} layers in an image of one file", layers.len());
    tar(&blob(directory, &layers[0])?, root)?;
    Ok(Image {
        entrypoint: strings(&configuration["config"]["Entrypoint"]),
        environment: strings(&configuration["config"]["Env"]),
    })
}

/// The strings of a list.
pub(crate) fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|one| Some(one.as_str()?.to_owned())).collect()
}

fn tar(archive: &Path, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let status = Command::new("tar")
        .arg("--extract")
        .arg("--file")
        .arg(archive)
        .current_dir(directory)
        .status();
    let status = status.context("tar could not be run")?;
    ensure!(status.success(), "tar, of {}: {status}", archive.display());
    Ok(())
}

fn blob(directory: &Path, descriptor: &Value) -> Result<std::path::PathBuf> {
    let digest = descriptor["digest"].as_str().context("a descriptor has no digest")?;
    Ok(directory.join("blobs").join(digest.replace(':', "/")))
}

fn json(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}
