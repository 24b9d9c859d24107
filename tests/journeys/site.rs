//! The demonstration site, and corpora built from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use m3w::build::{BuildOptions, build};
use m3w::config::BuildConfig;
use m3w::crawler::Archives;
use m3w::demo::SiteServer;
use m3w::shards::Manifest;
use m3w::source::Source;
use tempfile::TempDir;
use tokio::sync::watch;

/// A running site with a list of its URLs in a folder of its own.
pub(super) struct Site {
    pub(super) folder: TempDir,
    pub(super) list: PathBuf,
    server: Option<SiteServer>,
}

impl Site {
    pub(super) fn start() -> Self {
        let server = SiteServer::start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("urls.txt");
        std::fs::write(&list, server.url_list()).unwrap();
        Self {
            folder,
            list,
            server: Some(server),
        }
    }

    /// The folder and the list, when nobody answers any more.
    pub(super) fn without_server(mut self) -> Self {
        drop(self.server.take());
        self
    }

    /// What builds this site into `name` in a way that any machine can afford.
    pub(super) fn options(&self, name: &str, threads: usize) -> BuildOptions {
        let mut config = BuildConfig {
            inputs_per_shard: 5,
            vocabulary_size: 600,
            ..BuildConfig::default()
        };
        config.crawler.delay_ms = 0;
        config.crawler.allow_private_addresses = true;
        config.shards.windows_per_document = 2;
        BuildOptions {
            source: Source::Urls {
                path: self.list.clone(),
                column: "url".to_owned(),
            },
            out: self.folder.path().join(name),
            config,
            tokenizer: None,
            fetch_missing_images: true,
            archives: Archives::default(),
            retry: None,
            metrics: None,
            prometheus: None,
            threads,
            is_quiet: true,
        }
    }
}

/// Runs a build to its end.
pub(super) fn run(options: &BuildOptions) -> Manifest {
    build(options, &never()).unwrap()
}

/// A stop signal that is never set.
pub(super) fn never() -> watch::Receiver<bool> {
    watch::channel(false).1
}

/// A corpus of the site that all tests which only read may share.
pub(super) fn shared_corpus() -> &'static Path {
    static SHARED: OnceLock<(Site, PathBuf)> = OnceLock::new();
    let (_, path) = SHARED.get_or_init(|| {
        let site = Site::start();
        let options = site.options("corpus", 2);
        run(&options);
        (site, options.out)
    });
    path
}

/// Copies the shared corpus into a folder, for a test that changes it.
pub(super) fn copy_shared_corpus(folder: &Path) {
    for (name, bytes) in files(shared_corpus()) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// Every file of a folder, by its path below the folder.
pub(super) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// The program itself.
pub(super) fn m3w(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_m3w"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs the program and kills it after so many milliseconds, as a power cut would.
pub(super) fn kill_after(milliseconds: u64, arguments: &[&str]) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_m3w"))
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(milliseconds));
    // One that is done already cannot be killed.
    let _ = child.kill();
    child.wait().unwrap();
}

/// What a run that must fail says on standard error.
pub(super) fn complaint(arguments: &[&str]) -> String {
    let output = m3w(arguments);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {complaint}");
    complaint
}
