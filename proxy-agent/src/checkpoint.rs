//! The API servers of last time, on disk: where to ask when nothing that was configured answers.
//!
//! A node that boots without kube-proxy can't reach the ClusterIP of the API server before Sluice
//! has asked an API server. The addresses of `default/kubernetes`, as last seen, close that circle.
//! The file is replaced as a whole: after a power cut it is the old one or the new one. Nothing
//! here decides when to read or write; [`crate::source::kubernetes`] does.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Where the file is unless flags say otherwise.
pub const DEFAULT_PATH: &str = "/var/lib/sluice/api-servers.json";

/// The layout of the file.
const VERSION: u32 = 1;

/// A file with the addresses of API servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    path: PathBuf,
}

/// Why the file can't be used. The agent goes on without it.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It can't be read or written.
    #[error("--checkpoint {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It isn't what it should be.
    #[error("--checkpoint {}: not a list of API servers ({source}): delete it, it will be written anew", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// It is of another version.
    #[error("--checkpoint {}: its layout is version {found}, this agent knows version {VERSION}: it will be written anew", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

/// What the file says.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    /// Ready endpoints of the Service `default/kubernetes`.
    servers: Vec<SocketAddr>,
}

impl Checkpoint {
    /// The file `path`, which need not be there yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// What was written last; none if there is no file.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn read(&self) -> Result<Vec<SocketAddr>, CheckpointError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.io(source)),
        };
        let path = || self.path.clone();
        let content: Content = serde_json::from_slice(&text)
            .map_err(|source| CheckpointError::Syntax { path: path(), source })?;
        if content.version != VERSION {
            return Err(CheckpointError::Version { path: path(), found: content.version });
        }
        Ok(content.servers)
    }

    /// Writes `servers`, and returns when they are on disk.
    ///
    /// # Errors
    /// See [`CheckpointError`]. The file is as it was then.
    pub fn write(&self, servers: &[SocketAddr]) -> Result<(), CheckpointError> {
        self.replace(servers).map_err(|source| self.io(source))
    }

    fn replace(&self, servers: &[SocketAddr]) -> io::Result<()> {
        let content = Content { version: VERSION, servers: servers.to_vec() };
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory)?;
        let mut name = self.path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(&content)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        File::open(directory)?.sync_all()
    }

    fn io(&self, source: io::Error) -> CheckpointError {
        CheckpointError::Io { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, net::SocketAddr};

    use super::{Checkpoint, CheckpointError};

    fn servers() -> Vec<SocketAddr> {
        vec!["192.0.2.1:6443".parse().unwrap(), "[2001:db8::1]:6443".parse().unwrap()]
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::new(directory.path().join("state/servers.json"));
        assert_eq!(checkpoint.read().unwrap(), []);
        checkpoint.write(&servers()).unwrap();
        assert_eq!(checkpoint.read().unwrap(), servers());
        checkpoint.write(&servers()[..1]).unwrap();
        assert_eq!(checkpoint.read().unwrap(), servers()[..1]);
        assert_eq!(fs::read_dir(directory.path().join("state")).unwrap().count(), 1);
    }

    #[test]
    fn what_can_not_be_read_is_told_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("servers.json");
        let checkpoint = Checkpoint::new(&path);
        fs::write(&path, "{\"version\": 1, \"servers\": [\"here\"]}").unwrap();
        let error = checkpoint.read().unwrap_err();
        assert!(matches!(error, CheckpointError::Syntax { .. }));
        assert!(error.to_string().contains("servers.json"), "{error}");
        fs::write(&path, "{\"version\": 7, \"servers\": []}").unwrap();
        assert!(matches!(checkpoint.read(), Err(CheckpointError::Version { found: 7, .. })));
        checkpoint.write(&servers()).unwrap();
        assert_eq!(checkpoint.read().unwrap(), servers());
    }
}
