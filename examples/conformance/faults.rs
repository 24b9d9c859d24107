//! What is injected into whole runs of the program: kills, a full disk, damage.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use m3w::demo::SiteServer;
use serde::Deserialize;
use tempfile::TempDir;

use crate::cases::Directory;
use crate::report::{Mismatch, Outcome, SuiteResult};
use crate::{faults_build, faults_train};

/// What a case may take: a hundred builds of a small site on a busy machine.
const LIMIT: Duration = Duration::from_secs(3600);
/// Longest that a run may take before it counts as hanging.
const HANGS_AFTER: Duration = Duration::from_secs(300);

/// One line of the plan.
#[derive(Debug, Deserialize)]
struct Plan {
    stage: String,
    fault: String,
    expect: String,
}

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    let world = Arc::new(World::start(directory.path("../hostile/server.py"))?);
    directory.run_rows_within(
        "faults/plan.jsonl",
        LIMIT,
        |_| true,
        move |plan: Plan| check(&world, &plan),
    )
}

fn check(world: &World, plan: &Plan) -> Outcome {
    let case = match (plan.stage.as_str(), plan.fault.as_str()) {
        ("crawl", "kill -9") => faults_build::killed_crawl,
        ("crawl", "kill -9 twice") => faults_build::killed_twice,
        ("convert", "kill -9") => faults_build::killed_conversion,
        ("convert", "disk full") => faults_build::full_disk,
        ("convert", "read-only output") => faults_build::read_only_output,
        ("convert", "corrupt one closed shard") => faults_build::corrupt_shard,
        ("crawl", "fd limit") => faults_build::few_files,
        ("crawl", "memory cap") => faults_build::little_memory,
        ("crawl", "SIGTERM") => faults_build::terminated,
        ("train", "kill -9") => faults_train::killed,
        ("train", "NaN loss") => faults_train::not_a_number,
        ("train", "truncated checkpoint") => faults_train::truncated_checkpoint,
        ("train", "missing shard") => faults_train::missing_shard,
        ("eval", "wrong tokenizer") => faults_train::wrong_tokenizer,
        _ => |_: &World| bail!("a fault that this program does not know"),
    };
    case(world).map_err(|error| Mismatch::new(plan.expect.as_str(), format!("{error:#}")))
}

/// What all cases share: the program, a small site on the loopback address, a folder.
pub(crate) struct World {
    program: PathBuf,
    _site: SiteServer,
    folder: TempDir,
    list: PathBuf,
    /// The hostile server's program, where there is one.
    pub(crate) hostile: PathBuf,
}

impl World {
    fn start(hostile: PathBuf) -> Result<Self> {
        // `target/release/examples/conformance` stands below `target/release/m3w`.
        let own = std::env::current_exe().context("cannot find this program")?;
        let program = own.ancestors().nth(2).unwrap_or(Path::new("")).join("m3w");
        ensure!(
            program.exists(),
            "{} is not there: build the program first, with `cargo build --release`",
            program.display()
        );
        let site = SiteServer::start()?;
        let folder = tempfile::tempdir()?;
        let list = folder.path().join("urls.txt");
        fs::write(&list, site.url_list())?;
        Ok(Self {
            program,
            _site: site,
            folder,
            list,
            hostile,
        })
    }

    /// A name in the folder of all cases, with nothing there.
    pub(crate) fn place(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        }
        Ok(path)
    }

    /// A run of the program.
    pub(crate) fn m3w<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command
    }

    /// The same below a limit of the shell's, such as `ulimit -n 64`.
    pub(crate) fn limited(&self, limit: &str, arguments: &[String]) -> Command {
        let mut command = Command::new("sh");
        let script = format!("{limit} && exec \"$0\" \"$@\"");
        command
            .arg("-c")
            .arg(script)
            .arg(&self.program)
            .args(arguments);
        command
    }

    /// A build of the site.
    pub(crate) fn crawl(&self, out: &Path) -> Vec<String> {
        self.build(&["--urls".to_owned(), self.list.display().to_string()], out)
    }

    /// A build of `source` in parts so small that there are several.
    pub(crate) fn build(&self, source: &[String], out: &Path) -> Vec<String> {
        let mut arguments = vec!["build".to_owned()];
        arguments.extend_from_slice(source);
        arguments.extend(["--out".to_owned(), out.display().to_string()]);
        let rest = [
            "--allow-private-addresses",
            "--quiet",
            "--threads",
            "2",
            "--set",
            "inputs_per_shard=5",
            "--set",
            "vocabulary_size=600",
            "--set",
            "crawler.delay_ms=0",
            "--set",
            "shards.windows_per_document=2",
        ];
        arguments.extend(rest.map(str::to_owned));
        arguments
    }

    /// The site's corpus, built once.
    pub(crate) fn corpus(&self) -> Result<PathBuf> {
        let out = self.folder.path().join("corpus");
        if !out.join("manifest.json").exists() {
            succeed(&mut self.m3w(&self.crawl(&out)))?;
        }
        Ok(out)
    }
}

/// Starts a program that nobody listens to.
pub(crate) fn start(command: &mut Command) -> Result<Child> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    child.context("cannot start the program")
}

/// Waits for a program's end, and ends it after `limit`.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<std::process::ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a program to its end.
pub(crate) fn finish(command: &mut Command) -> Result<Output> {
    let mut child = start(command)?;
    let mut stderr = child.stderr.take();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(stderr) = &mut stderr {
            // What was read before is enough.
            let _ = stderr.read_to_end(&mut text);
        }
        text
    });
    let status = wait(&mut child, HANGS_AFTER)?.context("the program hangs")?;
    Ok(Output {
        status,
        stdout: Vec::new(),
        stderr: reader.join().unwrap_or_default(),
    })
}

/// Runs what has to succeed; what it said.
pub(crate) fn succeed(command: &mut Command) -> Result<String> {
    let output = finish(command)?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {told}", output.status);
    Ok(told)
}

/// Runs what has to be refused with an error; what it said.
pub(crate) fn refused(command: &mut Command) -> Result<String> {
    let output = finish(command)?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code();
    ensure!(code == Some(1), "{}: {told}", output.status);
    ensure!(told.contains("ERROR"), "no error is told: {told}");
    Ok(told)
}

/// Every file of a corpus, by its path.
pub(crate) fn contents(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder)?.to_owned(), fs::read(&path)?);
            }
        }
    }
    Ok(found)
}

/// That two folders hold the same files with the same bytes: so nothing is lost, doubled,
/// unreadable or left over.
pub(crate) fn same_contents(expected: &Path, found: &Path) -> Result<()> {
    let (expected, found) = (contents(expected)?, contents(found)?);
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    ensure!(
        names(&expected) == names(&found),
        "{:?} in place of {:?}",
        names(&found),
        names(&expected)
    );
    for (name, bytes) in &expected {
        ensure!(bytes == &found[name], "{} differs", name.display());
    }
    Ok(())
}

/// Numbers from 0 to 1 that look random and are the same each time.
pub(crate) fn draws(seed: u64) -> impl Iterator<Item = f64> {
    // Knuth's multiplier and increment (MMIX).
    let step = |state: &u64| {
        let next = state.wrapping_mul(6_364_136_223_846_793_005);
        Some(next.wrapping_add(1_442_695_040_888_963_407))
    };
    std::iter::successors(Some(seed), step)
        .skip(1)
        .map(|state| (state >> 11) as f64 / (1_u64 << 53) as f64)
}
