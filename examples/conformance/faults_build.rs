//! Faults of a crawl, and of a conversion from WARC files.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use m3w::shards::DocumentReader;
use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::faults::{World, contents, draws, refused, same_contents, start, succeed, wait};
use crate::loopback::{Answer, Server};

/// A user who owns nothing.
const NOBODY: u32 = 65_534;
/// The most memory that a crawl of hostile answers may hold.
const MEMORY_CAP_KIB: u64 = 512 << 10;

/// Kills a build at each of the times, lets it go on to its end, and compares with `undisturbed`.
fn killed_at(
    world: &World,
    undisturbed: &Path,
    source: Option<&[String]>,
    times: impl Iterator<Item = Vec<Duration>>,
) -> Result<()> {
    for kills in times {
        let out = world.place("killed")?;
        let arguments = match source {
            Some(source) => world.build(source, &out),
            None => world.crawl(&out),
        };
        for kill in &kills {
            let mut child = start(&mut world.m3w(&arguments))?;
            thread::sleep(*kill);
            child.kill()?;
            child.wait()?;
        }
        let after = || format!("killed after {kills:?}");
        succeed(&mut world.m3w(&arguments)).with_context(after)?;
        same_contents(undisturbed, &out).with_context(after)?;
    }
    Ok(())
}

/// How long a build takes when nothing happens.
fn duration(world: &World, out: &Path, source: Option<&[String]>) -> Result<Duration> {
    let arguments = match source {
        Some(source) => world.build(source, out),
        None => world.crawl(out),
    };
    let begun = Instant::now();
    succeed(&mut world.m3w(&arguments))?;
    Ok(begun.elapsed())
}

pub(crate) fn killed_crawl(world: &World) -> Result<()> {
    let undisturbed = world.place("undisturbed")?;
    let whole = duration(world, &undisturbed, None)?;
    let even = (1..=50).map(|step| whole.mul_f64(0.02 * f64::from(step)));
    let first = Duration::from_millis(1);
    let ratio = whole.as_secs_f64() / first.as_secs_f64();
    let spaced = (0..50).map(move |step| first.mul_f64(ratio.powf(f64::from(step) / 50.0)));
    let times = even.chain(spaced).map(|time| vec![time]);
    killed_at(world, &undisturbed, None, times)
}

pub(crate) fn killed_twice(world: &World) -> Result<()> {
    let undisturbed = world.place("undisturbed")?;
    let whole = duration(world, &undisturbed, None)?;
    let times = vec![whole.mul_f64(0.3), whole.mul_f64(0.6)];
    killed_at(world, &undisturbed, None, std::iter::once(times))
}

/// The site as WARC files, and how a build reads them.
fn archived(world: &World) -> Result<Vec<String>> {
    let folder = world.place("warc")?;
    let mut arguments = world.crawl(&world.place("archived")?);
    arguments.extend(["--warc-out".to_owned(), folder.display().to_string()]);
    succeed(&mut world.m3w(&arguments))?;
    let mut source = vec!["--offline".to_owned(), "--warc".to_owned()];
    source.extend(
        contents(&folder)?
            .keys()
            .map(|name| folder.join(name).display().to_string()),
    );
    Ok(source)
}

pub(crate) fn killed_conversion(world: &World) -> Result<()> {
    let source = archived(world)?;
    let undisturbed = world.place("undisturbed")?;
    let whole = duration(world, &undisturbed, Some(&source))?;
    let times = draws(1).take(100).map(|draw| vec![whole.mul_f64(draw)]);
    killed_at(world, &undisturbed, Some(&source), times)
}

/// No file may grow beyond a size that some of the shards have and the largest has not.
pub(crate) fn full_disk(world: &World) -> Result<()> {
    let source = archived(world)?;
    let undisturbed = world.place("undisturbed")?;
    succeed(&mut world.m3w(&world.build(&source, &undisturbed)))?;
    let sizes = contents(&undisturbed)?;
    let sizes = sizes
        .iter()
        .filter(|(name, _)| name.starts_with("documents"));
    let mut sizes: Vec<usize> = sizes.map(|(_, bytes)| bytes.len()).collect();
    sizes.sort_unstable();
    let largest = sizes.last().context("no shard")?;
    // Blocks of 512 bytes.
    let limit = format!("ulimit -f {}", (largest - 1) / 512);
    let out = world.place("full")?;
    let arguments = world.build(&source, &out);
    let told = refused(&mut world.limited(&limit, &arguments))?;
    ensure!(
        told.contains(&out.display().to_string()),
        "no path is named: {told}"
    );
    readable_shards(&out)?;
    succeed(&mut world.m3w(&arguments))?;
    same_contents(&undisturbed, &out)
}

fn readable_shards(out: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(out.join("documents")) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "parquet")
        {
            for document in DocumentReader::open(&path)? {
                document?;
            }
        }
    }
    Ok(())
}

/// A folder that may only be read; the program runs as somebody whom that binds.
pub(crate) fn read_only_output(world: &World) -> Result<()> {
    let server = Server::start(|_, _| page(""))?;
    let folder = tempfile::tempdir()?;
    let list = folder.path().join("urls.txt");
    fs::write(&list, format!("http://{}/a\n", server.address))?;
    let locked = folder.path().join("locked");
    fs::create_dir(&locked)?;
    for path in [folder.path(), &locked] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o555))?;
    }
    let source = ["--urls".to_owned(), list.display().to_string()];
    let mut command = world.m3w(&world.build(&source, &locked));
    if getuid().is_root() {
        // The program's own folder may be closed to others.
        let program = PathBuf::from(command.get_program());
        let copied = tempfile::tempdir()?;
        fs::set_permissions(copied.path(), PermissionsExt::from_mode(0o755))?;
        let copy = copied.path().join("m3w");
        fs::copy(&program, &copy)?;
        let mut as_nobody = Command::new(&copy);
        as_nobody.args(command.get_args()).uid(NOBODY).gid(NOBODY);
        as_nobody.current_dir(copied.path());
        command = as_nobody;
        let told = refused(&mut command);
        drop(copied);
        told?;
    } else {
        refused(&mut command)?;
    }
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))?;
    let asked = server.count("/robots.txt") + server.count("/a");
    ensure!(asked == 0, "{asked} requests were made");
    Ok(())
}

fn page(links: &str) -> Answer {
    let words = "a page about rivers, bridges and the towns between them, in many words. ";
    Answer {
        status: 200,
        headers: vec![("Content-Type", "text/html; charset=utf-8".to_owned())],
        body: format!("<title>A page</title><p>{}{links}</p>", words.repeat(5)).into_bytes(),
    }
}

/// One byte of a shard changed: `m3w verify` names the shard, and no reader gives other rows.
pub(crate) fn corrupt_shard(world: &World) -> Result<()> {
    let corpus = world.corpus()?;
    let whole = contents(&corpus)?;
    let shards = whole
        .iter()
        .filter(|(name, _)| name.starts_with("documents"));
    let (name, bytes) = shards
        .max_by_key(|(_, bytes)| bytes.len())
        .context("no shard")?;
    let path = corpus.join(name);
    let rows = |path: &Path| DocumentReader::open(path)?.collect::<Result<Vec<_>, _>>();
    let expected = rows(&path)?;
    let injected = [1, 2, 3].map(|quarter| {
        let mut damaged = bytes.clone();
        damaged[bytes.len() * quarter / 4] ^= 1 << quarter;
        fs::write(&path, damaged)?;
        let told = refused(&mut world.m3w(&["verify", &corpus.display().to_string()]))?;
        ensure!(
            told.contains(&name.display().to_string()),
            "not named: {told}"
        );
        if let Ok(found) = rows(&path) {
            ensure!(found == expected, "other rows are read at {quarter}/4");
        }
        Ok(())
    });
    fs::write(&path, bytes)?;
    injected.into_iter().collect()
}

/// 500 pages of one server, with 64 files open at most.
pub(crate) fn few_files(world: &World) -> Result<()> {
    let server = Server::start(|_, _| page(""))?;
    let list = world.place("many")?.with_extension("txt");
    let urls = (0..500).map(|page| format!("http://{}/{page}\n", server.address));
    fs::write(&list, urls.collect::<String>())?;
    let out = world.place("few-files")?;
    let source = ["--urls".to_owned(), list.display().to_string()];
    let mut arguments = world.build(&source, &out);
    for setting in [
        "filter.min_images=0",
        "inputs_per_shard=100",
        "crawler.connections_per_host=32",
    ] {
        arguments.extend(["--set".to_owned(), setting.to_owned()]);
    }
    succeed(&mut world.limited("ulimit -n 64", &arguments))?;
    let fetched = (0..500)
        .filter(|page| server.count(&format!("/{page}")) > 0)
        .count();
    ensure!(fetched == 500, "{fetched} of 500 pages were asked for");
    Ok(())
}

/// Answers made to exhaust whoever asks, 32 at a time.
pub(crate) fn little_memory(world: &World) -> Result<()> {
    ensure!(
        world.hostile.exists(),
        "{} is not there: it gives the answers",
        world.hostile.display()
    );
    let mut server = Command::new("python3")
        .arg(&world.hostile)
        .args(["--port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start the hostile server")?;
    let result = crawl_hostile(world, server.stdout.take().context("no output")?);
    server.kill()?;
    server.wait()?;
    result
}

fn crawl_hostile(world: &World, stdout: impl Read + Send + 'static) -> Result<()> {
    let mut lines = BufReader::new(stdout).lines();
    let head: serde_json::Value = serde_json::from_str(&lines.next().context("no line")??)?;
    // It must not wait for somebody to read the rest.
    thread::spawn(move || lines.count());
    let base = head["listening"].as_str().context("no address")?;
    let host = base.trim_end_matches('/').trim_start_matches("http://");
    let mut urls = String::new();
    for line in get(host, "/_list")?.lines() {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        urls.push_str(line["url"].as_str().unwrap_or_default());
        urls.push('\n');
    }
    ensure!(urls.lines().count() > 1, "the server lists nothing");
    let list = world.place("hostile")?.with_extension("txt");
    fs::write(&list, urls)?;
    let out = world.place("hostile-out")?;
    let mut arguments: Vec<String> = ["build", "--quiet", "--urls"].map(str::to_owned).to_vec();
    arguments.extend([
        list.display().to_string(),
        "--out".to_owned(),
        out.display().to_string(),
    ]);
    let allowed = format!("crawler.allowed_private_hosts=[\"{host}\"]");
    for setting in [
        allowed.as_str(),
        "filter.min_images=0",
        "filter.text.min_words=0",
        "vocabulary_size=600",
        "crawler.connections_per_host=32",
    ] {
        arguments.extend(["--set".to_owned(), setting.to_owned()]);
    }
    let mut child = start(&mut world.m3w(&arguments))?;
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        peak = peak.max(peak_kib(child.id()));
        thread::sleep(Duration::from_millis(5));
    };
    ensure!(status.success(), "{status}");
    ensure!(peak > 0 && peak < MEMORY_CAP_KIB, "{peak} KiB were held");
    Ok(())
}

/// The body of one answer.
fn get(host: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(host)?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    Ok(body.to_owned())
}

/// The most memory that a process has held, in KiB; 0 where that is not told.
fn peak_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

/// Told to end at ten times: it ends within five seconds, with the code that is documented, and the
/// same command goes on.
pub(crate) fn terminated(world: &World) -> Result<()> {
    let undisturbed = world.place("undisturbed")?;
    let whole = duration(world, &undisturbed, None)?;
    for draw in draws(8).take(10) {
        let out = world.place("terminated")?;
        let arguments = world.crawl(&out);
        let mut child = start(&mut world.m3w(&arguments))?;
        // Before that it has not begun to listen.
        thread::sleep(whole.mul_f64(draw).max(Duration::from_millis(50)));
        let process = Pid::from_child(&child);
        if child.try_wait()?.is_none() {
            kill_process(process, Signal::TERM)?;
        }
        let Some(status) = wait(&mut child, Duration::from_secs(5))? else {
            bail!("it goes on for five seconds after {draw:.2} of a run");
        };
        ensure!(
            matches!(status.code(), Some(0 | 130)),
            "{status} after {draw:.2} of a run"
        );
        readable_shards(&out)?;
        succeed(&mut world.m3w(&arguments))?;
        same_contents(&undisturbed, &out)?;
    }
    Ok(())
}
