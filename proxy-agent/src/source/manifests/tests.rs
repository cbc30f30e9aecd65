//! Tests of the directory as a whole: real files, real inotify.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::source::{Change, Event, Inlet, channel};

/// A directory that is followed.
struct Followed {
    root: tempfile::TempDir,
    events: Inlet,
}

fn service(name: &str, address: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: {address}, ports: [{{port: 80}}]}}\n"
    )
}

impl Followed {
    /// Follows a directory that `prepare` has filled, and reads until the first list is complete.
    fn new(prepare: impl FnOnce(&Path)) -> (Self, Vec<String>) {
        let root = tempfile::tempdir().unwrap();
        prepare(root.path());
        let (sender, events) = channel(64);
        let directory = root.path().join("manifests");
        std::thread::spawn(move || super::follow(directory, &sender));
        let mut followed = Self { root, events };
        let first = followed.until("synced");
        (followed, first)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("manifests").join(name)
    }

    /// What is told until `last` is.
    fn until(&mut self, last: &str) -> Vec<String> {
        let mut told = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !told.iter().any(|told| told == last) {
            assert!(Instant::now() < deadline, "{last:?} was not told, but {told:?}");
            match self.events.try_recv() {
                Some(batch) => told.extend(batch.events.iter().map(word)),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        told
    }

    /// Nothing is told for a while.
    fn quiet(&mut self) {
        std::thread::sleep(Duration::from_millis(200));
        let told = self.events.try_recv().map(|batch| batch.events).unwrap_or_default();
        assert_eq!(told, []);
    }
}

fn word(event: &Event) -> String {
    match event {
        Event::Service(Change::Applied(service)) => {
            format!("+{} {}", service.name.name, service.cluster_ips[0])
        }
        Event::Service(Change::Deleted(name)) => format!("-{}", name.name),
        Event::Synced => "synced".to_owned(),
        Event::Problem(problem) => format!("! {problem}"),
        other => format!("{other:?}"),
    }
}

fn one_file(root: &Path) {
    fs::create_dir(root.join("manifests")).unwrap();
    fs::write(root.join("manifests/web.yaml"), service("web", "10.96.0.1")).unwrap();
}

#[test]
fn files_that_come_change_and_go_are_told() {
    let (mut followed, first) = Followed::new(one_file);
    assert_eq!(first, ["+web 10.96.0.1", "synced"]);
    fs::write(followed.path("api.yaml"), service("api", "10.96.0.2")).unwrap();
    assert_eq!(followed.until("+api 10.96.0.2").len(), 1);
    fs::write(followed.path("web.yaml"), service("web", "10.96.0.3")).unwrap();
    assert_eq!(followed.until("+web 10.96.0.3").len(), 1);
    fs::remove_file(followed.path("web.yaml")).unwrap();
    assert_eq!(followed.until("-web").len(), 1);
    followed.quiet();
}

#[test]
fn a_file_that_is_replaced_by_renaming_is_told_once() {
    let (mut followed, _) = Followed::new(one_file);
    fs::write(followed.path(".web.yaml.new"), service("web", "10.96.0.3")).unwrap();
    fs::rename(followed.path(".web.yaml.new"), followed.path("web.yaml")).unwrap();
    assert_eq!(followed.until("+web 10.96.0.3").len(), 1);
}

#[test]
fn an_editor_that_moves_the_file_away_first_deletes_nothing() {
    let (mut followed, _) = Followed::new(one_file);
    fs::rename(followed.path("web.yaml"), followed.path("web.yaml~")).unwrap();
    std::thread::sleep(Duration::from_millis(15));
    fs::write(followed.path("web.yaml"), service("web", "10.96.0.3")).unwrap();
    fs::remove_file(followed.path("web.yaml~")).unwrap();
    assert_eq!(followed.until("+web 10.96.0.3").len(), 1);
}

#[test]
fn a_writer_that_takes_its_time_deletes_nothing() {
    let (mut followed, _) = Followed::new(one_file);
    let mut file = fs::File::create(followed.path("web.yaml")).unwrap();
    followed.quiet();
    file.write_all(service("api", "10.96.0.2").as_bytes()).unwrap();
    file.flush().unwrap();
    assert_eq!(followed.until("+api 10.96.0.2").len(), 1);
    drop(file);
    assert_eq!(followed.until("-web").len(), 1);
}

#[test]
fn a_writer_that_truncates_again_and_again_deletes_nothing() {
    let (mut followed, _) = Followed::new(one_file);
    let path = followed.path("web.yaml");
    let begin = Instant::now();
    for turn in 0_u64.. {
        if begin.elapsed() > Duration::from_secs(3) {
            break;
        }
        let mut file = fs::File::create(&path).unwrap();
        std::thread::sleep(Duration::from_micros(turn % 7 * 300));
        file.write_all(service("web", "10.96.0.1").as_bytes()).unwrap();
        drop(file);
        std::thread::sleep(Duration::from_micros(turn % 11 * 700));
    }
    followed.quiet();
}

#[test]
fn the_first_list_waits_for_a_file_that_is_being_written() {
    for attempt in 0.. {
        let root = tempfile::tempdir().unwrap();
        one_file(root.path());
        let directory = root.path().join("manifests");
        let (mut follower, _) = super::Follower::new(directory.clone());
        let mut file = fs::File::create(directory.join("web.yaml")).unwrap();
        let emptied = Instant::now();
        let first = follower.look();
        if emptied.elapsed() >= super::settle::PATIENCE && attempt < 100 {
            // This machine is busy: nobody could have known.
            continue;
        }
        assert_eq!(first, []);
        file.write_all(service("web", "10.96.0.1").as_bytes()).unwrap();
        let mut told = Vec::new();
        while !told.contains(&Event::Synced) {
            follower.wait();
            told.extend(follower.look());
        }
        let told: Vec<String> = told.iter().map(word).collect();
        assert_eq!(told, ["+web 10.96.0.1", "synced"]);
        return;
    }
}

#[test]
fn a_config_map_that_is_turned_over_is_told() {
    let (mut followed, first) = Followed::new(|root| {
        let root = root.join("manifests");
        for (version, address) in [("..1", "10.96.0.1"), ("..2", "10.96.0.2")] {
            fs::create_dir_all(root.join(version)).unwrap();
            fs::write(root.join(version).join("web.yaml"), service("web", address)).unwrap();
        }
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/web.yaml", root.join("web.yaml")).unwrap();
    });
    assert_eq!(first, ["+web 10.96.0.1", "synced"]);
    symlink("..2", followed.path("..tmp")).unwrap();
    fs::rename(followed.path("..tmp"), followed.path("..data")).unwrap();
    assert_eq!(followed.until("+web 10.96.0.2").len(), 1);
}

#[test]
fn what_a_symlink_leads_to_is_watched_wherever_it_is() {
    let (mut followed, _) = Followed::new(|root| {
        fs::create_dir(root.join("manifests")).unwrap();
        fs::create_dir(root.join("elsewhere")).unwrap();
        fs::write(root.join("elsewhere/web"), service("web", "10.96.0.1")).unwrap();
        symlink(root.join("elsewhere/web"), root.join("manifests/web.yaml")).unwrap();
    });
    let actual = followed.root.path().join("elsewhere/web");
    fs::write(actual, service("web", "10.96.0.2")).unwrap();
    let begin = Instant::now();
    assert_eq!(followed.until("+web 10.96.0.2").len(), 1);
    assert!(begin.elapsed() < super::follow::POLL, "not by looking now and then");
}

#[test]
fn a_subdirectory_that_comes_with_files_is_read_and_watched() {
    let (mut followed, _) = Followed::new(one_file);
    fs::create_dir(followed.path("sub")).unwrap();
    fs::write(followed.path("sub/api.yaml"), service("api", "10.96.0.2")).unwrap();
    assert_eq!(followed.until("+api 10.96.0.2").len(), 1);
    fs::write(followed.path("sub/api.yaml"), service("api", "10.96.0.3")).unwrap();
    assert_eq!(followed.until("+api 10.96.0.3").len(), 1);
}

#[test]
fn a_directory_that_is_gone_takes_nothing_and_one_that_comes_is_read() {
    let (mut followed, _) = Followed::new(one_file);
    let root = followed.root.path().to_path_buf();
    fs::rename(root.join("manifests"), root.join("away")).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let told = followed.events.try_recv().unwrap().events;
    assert_eq!(told.len(), 1);
    assert!(word(&told[0]).starts_with("! --manifests is \""), "{}", word(&told[0]));
    fs::create_dir(root.join("manifests")).unwrap();
    fs::write(followed.path("web.yaml"), service("web", "10.96.0.9")).unwrap();
    followed.until("+web 10.96.0.9");
    fs::write(followed.path("web.yaml"), service("web", "10.96.0.8")).unwrap();
    followed.until("+web 10.96.0.8");
}

#[test]
fn a_directory_that_is_not_there_yet_is_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let (sender, events) = channel(64);
    let directory = root.path().join("manifests");
    std::thread::spawn(move || super::follow(directory, &sender));
    let mut followed = Followed { root, events };
    std::thread::sleep(Duration::from_millis(50));
    one_file(followed.root.path());
    let told = followed.until("synced");
    assert!(told[0].starts_with("! "), "{told:?}");
    assert!(told.contains(&"+web 10.96.0.1".to_owned()), "{told:?}");
}

#[test]
fn a_file_that_broke_keeps_its_objects() {
    let (mut followed, _) = Followed::new(one_file);
    fs::write(followed.path("web.yaml"), "kind: [\n").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let told = followed.events.try_recv().unwrap().events;
    assert_eq!(told.len(), 1);
    assert!(word(&told[0]).contains("web.yaml, document 1, line "), "{}", word(&told[0]));
    fs::write(followed.path("web.yaml"), service("web", "10.96.0.2")).unwrap();
    assert_eq!(followed.until("+web 10.96.0.2").len(), 1);
}
