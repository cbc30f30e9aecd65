//! A directory of manifests as it is now, read once and not followed.
//!
//! Called by `sluice explain`.

use std::{fs, io, path::Path};

use crate::source::Event;

use super::{
    catalog::{Catalog, Writer},
    scan::scan,
};

/// What the manifests of `directory` say, as events that end with [`Event::Synced`].
///
/// # Errors
/// When the directory, one below it, or one of its files can't be read: then nobody knows what it
/// says.
pub fn read(directory: &Path) -> io::Result<Vec<Event>> {
    let named = |path: &Path, error: &io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    };
    let found = scan(directory)?;
    if let Some((path, error)) = found.unreadable.first() {
        return Err(named(path, error));
    }
    let mut catalog = Catalog::default();
    let mut events = Vec::new();
    for path in found.files.keys() {
        let text = fs::read_to_string(path).map_err(|error| named(path, &error))?;
        events.extend(catalog.read(path, &text, Writer::Gone));
    }
    events.push(Event::Synced);
    Ok(events)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::read;
    use crate::source::{Change, Event};

    #[test]
    fn every_file_is_read_and_what_is_wrong_is_told() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("sub")).unwrap();
        let node = "apiVersion: v1\nkind: Node\nmetadata: {name: here}\n";
        fs::write(root.path().join("sub/node.yaml"), node).unwrap();
        fs::write(root.path().join("a.yaml"), "kind: [\n").unwrap();
        let events = read(root.path()).unwrap();
        assert!(matches!(events[0], Event::Problem(_)), "{events:?}");
        assert!(matches!(&events[1], Event::Node(Change::Applied(node)) if &*node.name == "here"));
        assert_eq!(events[2..], [Event::Synced]);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert!(read(&root.path().join("none")).is_err());
    }
}
