//! Which file says what, and what the directory says as a whole.
//!
//! Pure: texts of files go in, events come out. A file is read again document by document: what a
//! document says is taken over as soon as it can be understood, and what one said before it broke
//! stays until it can be understood again or goes away.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    model::{Location, Problem, Trouble},
    source::{Event, convert::Converter},
};

use super::{
    document::{self, Contents},
    object::{ManifestObject, ObjectId},
};

/// Whether a file may still be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Somebody has it open for writing, or may have: what is missing may yet come.
    Present,
    /// Nobody has.
    Gone,
}

/// What the files of a directory say.
#[derive(Debug, Default)]
pub struct Catalog {
    converter: Converter,
    files: BTreeMap<PathBuf, File>,
    /// The files that describe an object; the first by name is believed.
    places: HashMap<ObjectId, BTreeSet<PathBuf>>,
}

#[derive(Debug, Default)]
struct File {
    /// What each document said, by a hash of its text.
    documents: HashMap<u64, Arc<Contents>>,
    objects: BTreeMap<ObjectId, Described>,
    /// Objects that documents which nobody can read may have held, by a hash of their text.
    kept: HashMap<u64, BTreeSet<ObjectId>>,
    /// Whether objects are kept for no other reason than that a writer may not be done.
    incomplete: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Described {
    object: ManifestObject,
    document: usize,
}

impl Catalog {
    /// Takes in the text of `file`.
    pub fn read(&mut self, file: &Path, text: &str, writer: Writer) -> Vec<Event> {
        let old = self.files.remove(file).unwrap_or_default();
        let mut new = File::default();
        let mut events = Vec::new();
        let mut broken = BTreeSet::new();
        let mut unreadable = Vec::new();
        for document in document::split(text) {
            let hash = hash(document.text.trim());
            let known = old.documents.get(&hash).cloned();
            let is_new = known.is_none();
            let contents =
                known.unwrap_or_else(|| Arc::new(document::read(&document, &mut self.converter)));
            if is_new {
                events.extend(contents.problems.iter().map(|(problem, line)| {
                    let line = line.map(|line| document.first_line + line - 1);
                    let file = file.to_path_buf();
                    let location = Some(Location { file, document: document.number, line });
                    Event::Problem(Problem { location, ..problem.clone() })
                }));
            }
            for (id, object) in &contents.objects {
                let described = Described { object: object.clone(), document: document.number };
                if let Some(first) = new.objects.get(id) {
                    if is_new {
                        events.push(duplicate(id, (file, document.number), (file, first.document)));
                    }
                } else {
                    new.objects.insert(id.clone(), described);
                }
            }
            broken.extend(contents.broken.iter().cloned());
            if contents.unreadable {
                unreadable.push((hash, is_new));
            }
            new.documents.insert(hash, contents);
        }
        keep_what_may_be_there(&old, &mut new, &broken, &unreadable, writer);
        events.extend(self.replace(file, old, Some(new)));
        events
    }

    /// Whether objects are kept that `file` did not describe when it was read last, only because
    /// its writer may not have been done.
    pub(super) fn is_incomplete(&self, file: &Path) -> bool {
        self.files.get(file).is_some_and(|file| file.incomplete)
    }

    /// `file` is gone.
    pub fn removed(&mut self, file: &Path) -> Vec<Event> {
        let old = self.files.remove(file).unwrap_or_default();
        self.replace(file, old, None)
    }

    /// Puts `new` in the place of `old`, which was taken out, and tells what that changes.
    fn replace(&mut self, file: &Path, old: File, new: Option<File>) -> Vec<Event> {
        let mut ids: BTreeSet<ObjectId> = old.objects.keys().cloned().collect();
        ids.extend(new.iter().flat_map(|new| new.objects.keys().cloned()));
        let before: Vec<Option<ManifestObject>> =
            ids.iter().map(|id| self.believed(id, Some((file, &old))).cloned()).collect();
        let mut events = Vec::new();
        for id in &ids {
            let described = new.as_ref().and_then(|new| new.objects.get(id));
            let places = self.places.entry(id.clone()).or_default();
            match described {
                None => _ = places.remove(file),
                Some(described) => {
                    if places.insert(file.to_path_buf()) && places.len() > 1 {
                        events.extend(self.told_twice(id, (file, described.document)));
                    }
                }
            }
            if self.places.get(id).is_some_and(BTreeSet::is_empty) {
                self.places.remove(id);
            }
        }
        if let Some(new) = new {
            self.files.insert(file.to_path_buf(), new);
        }
        for (id, before) in ids.into_iter().zip(before) {
            match self.believed(&id, None) {
                Some(now) if before.as_ref() == Some(now) => {}
                Some(now) => events.push(now.clone().applied()),
                None if before.is_some() => events.push(id.deleted()),
                None => {}
            }
        }
        events
    }

    /// The object that counts. `out` is a file that was taken out of the catalogue.
    fn believed<'a>(
        &'a self,
        id: &ObjectId,
        out: Option<(&Path, &'a File)>,
    ) -> Option<&'a ManifestObject> {
        let first = self.places.get(id)?.first()?;
        let file = match out {
            Some((path, file)) if path == first => file,
            _ => self.files.get(first)?,
        };
        file.objects.get(id).map(|described| &described.object)
    }

    /// That `id` stands in `here` as well as in another file.
    fn told_twice(&self, id: &ObjectId, here: (&Path, usize)) -> Option<Event> {
        let other = self.places.get(id)?.iter().find(|place| place.as_path() != here.0)?;
        let there = (other.as_path(), self.files.get(other)?.objects.get(id)?.document);
        Some(if there.0 < here.0 { duplicate(id, here, there) } else { duplicate(id, there, here) })
    }
}

/// Takes over from `old` what `new` lacks but may have.
fn keep_what_may_be_there(
    old: &File,
    new: &mut File,
    broken: &BTreeSet<ObjectId>,
    unreadable: &[(u64, bool)],
    writer: Writer,
) {
    let missing: BTreeMap<ObjectId, Described> = old
        .objects
        .iter()
        .filter(|(id, _)| !new.objects.contains_key(id))
        .map(|(id, described)| (id.clone(), described.clone()))
        .collect();
    for (hash, is_new) in unreadable {
        let kept = match old.kept.get(hash) {
            Some(kept) if !is_new => kept.clone(),
            _ => missing.keys().cloned().collect(),
        };
        new.kept.insert(*hash, kept);
    }
    for (id, described) in missing {
        let broke = broken.contains(&id) || new.kept.values().any(|kept| kept.contains(&id));
        let may_come = writer == Writer::Present;
        new.incomplete |= may_come && !broke;
        if broke || may_come {
            new.objects.insert(id, described);
        }
    }
}

fn duplicate(id: &ObjectId, second: (&Path, usize), first: (&Path, usize)) -> Event {
    let location =
        |(file, document): (&Path, usize)| Location { file: file.into(), document, line: None };
    Event::Problem(Problem {
        location: Some(location(second)),
        object: Some(id.reference()),
        field: String::new(),
        value: String::new(),
        trouble: Trouble::Duplicate { first: location(first) },
    })
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
