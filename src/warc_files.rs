//! WARC files that were named by URL, brought onto the disk.
//!
//! A build goes through its WARC files twice, once for the places of their images, and must find
//! the same bytes when it goes on after a kill: so they are fetched whole before it begins, piece
//! by piece, and a file that broke off is fetched on from where it did.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use m3w_crawler::{Crawler, FailureKind, Piece, normalise};
use m3w_shards::write_atomically;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use url::Url;

use crate::build::Stopped;
use crate::progress::Progress;

/// How often a piece is asked for before the file is given up.
const ATTEMPTS: u32 = 5;
/// The wait before the second; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// How WARC files are fetched.
#[derive(Debug, Clone, Copy)]
pub struct Fetching<'a> {
    /// Where they go: `FOLDER/HOST/PATH`.
    pub folder: &'a Path,
    /// The rules under which they are asked for.
    pub crawler: &'a m3w_crawler::Config,
    /// Whether to keep silent about progress.
    pub is_quiet: bool,
}

impl Fetching<'_> {
    /// The paths of these WARC files, in their order, those that are URLs fetched first. What is in
    /// the folder already is not asked for again.
    ///
    /// Memory is one piece (4 MiB); disk are the files, which stay there.
    ///
    /// # Errors
    ///
    /// [`Stopped`]; if a file cannot be fetched or written. What has come of it stays, and the same
    /// call goes on from there, unless the server has another file by then.
    pub fn paths(&self, names: &[String], stop: &watch::Receiver<bool>) -> Result<Vec<PathBuf>> {
        let mut seen = HashSet::new();
        let mut paths = Vec::new();
        let mut missing = Vec::new();
        for name in names {
            if !name.contains("://") {
                paths.push(PathBuf::from(name));
                continue;
            }
            let url = normalise(name)
                .with_context(|| format!("`{name}` is no WARC file that could be fetched"))?;
            let path = self.path(&url)?;
            if !seen.insert(path.clone()) {
                bail!("`{name}` is named twice");
            }
            if !path.exists() {
                missing.push((url, path.clone()));
            }
            paths.push(path);
        }
        if !missing.is_empty() {
            self.fetch_all(&missing, stop)?;
        }
        Ok(paths)
    }

    /// The query is left out: what signs a URL is another each day.
    fn path(&self, url: &Url) -> Result<PathBuf> {
        let segments = url.path_segments().into_iter().flatten();
        let segments: Vec<&str> = segments.filter(|segment| !segment.is_empty()).collect();
        if segments.is_empty() {
            bail!("{url} names no file");
        }
        let mut path = self.folder.join(url.host_str().unwrap_or_default());
        path.extend(segments);
        Ok(path)
    }

    fn fetch_all(&self, missing: &[(Url, PathBuf)], stop: &watch::Receiver<bool>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        runtime.block_on(async {
            let crawler = Crawler::new(self.crawler.clone()).context("cannot start the crawler")?;
            let total = missing.len() as u64;
            let progress = Progress::new("WARC files fetched", 0, total, self.is_quiet);
            for (url, path) in missing {
                let context = || format!("cannot fetch {url}");
                fetch(&crawler, url, path, stop)
                    .await
                    .with_context(context)?;
                progress.step(|| path.display().to_string());
            }
            Ok(())
        })
    }
}

/// What a part of a file is a part of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Whole {
    bytes: u64,
    version: Option<String>,
}

/// A file on its way: `NAME.part`, and beside it `NAME.part.json` about the whole.
struct PartFile {
    path: PathBuf,
    about: PathBuf,
    file: File,
    length: u64,
    whole: Option<Whole>,
}

impl PartFile {
    fn open(target: &Path) -> Result<Self> {
        let with_end = |end: &str| {
            let mut name = target.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        let (path, about) = (with_end(".part"), with_end(".part.json"));
        let context = || format!("cannot write {}", path.display());
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).with_context(context)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.with_context(context)?;
        let length = file.metadata().with_context(context)?.len();
        // A part of nobody knows what is no use.
        let whole = fs::read(&about)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut part = Self {
            path,
            about,
            file,
            length,
            whole,
        };
        if part.whole.is_none() {
            part.empty()?;
        }
        Ok(part)
    }

    fn is_whole(&self) -> bool {
        let whole = self.whole.as_ref();
        whole.is_some_and(|whole| whole.bytes == self.length)
    }

    fn empty(&mut self) -> Result<()> {
        let context = || format!("cannot write {}", self.path.display());
        self.file.set_len(0).with_context(context)?;
        self.length = 0;
        Ok(())
    }

    /// Appends the piece that begins at our end; one of another file than those before it makes the
    /// part empty again.
    fn append(&mut self, piece: &Piece) -> Result<()> {
        let whole = Whole {
            bytes: piece.total,
            version: piece.version.clone(),
        };
        if self.whole.as_ref() != Some(&whole) {
            let is_begun = self.length > 0;
            self.empty()?;
            write_atomically(&self.about, &serde_json::to_vec(&whole)?)?;
            self.whole = Some(whole);
            if is_begun {
                tracing::warn!("{} has changed: it is fetched anew", self.path.display());
                return Ok(());
            }
        }
        let context = || format!("cannot write {}", self.path.display());
        self.file.write_all(&piece.bytes).with_context(context)?;
        self.length += piece.bytes.len() as u64;
        Ok(())
    }

    fn complete(self, target: &Path) -> Result<()> {
        let context = || format!("cannot write {}", target.display());
        self.file.sync_all().with_context(context)?;
        fs::rename(&self.path, target).with_context(context)?;
        fs::remove_file(&self.about).with_context(context)
    }
}

async fn fetch(
    crawler: &Crawler,
    url: &Url,
    target: &Path,
    stop: &watch::Receiver<bool>,
) -> Result<()> {
    let mut part = PartFile::open(target)?;
    while !part.is_whole() {
        if *stop.borrow() {
            return Err(Stopped.into());
        }
        let piece = piece(crawler, url, part.length).await?;
        part.append(&piece)?;
    }
    part.complete(target)
}

async fn piece(crawler: &Crawler, url: &Url, offset: u64) -> Result<Piece> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match crawler.fetch_piece(url, offset).await {
            Ok(piece) => return Ok(piece),
            Err(failure) if attempt < ATTEMPTS && may_pass(failure.kind) => {
                tokio::time::sleep(FIRST_WAIT * 2_u32.pow(attempt - 1)).await;
            }
            Err(failure) => {
                let detail = format!(
                    "{failure}; {offset} bytes are on disk, and the same command goes on from there"
                );
                bail!(detail);
            }
        }
    }
}

/// Whether a failure may be another one in a moment.
fn may_pass(kind: FailureKind) -> bool {
    use FailureKind::{Connect, Dns, RateLimited, Timeout, TooSlow, Truncated};
    matches!(
        kind,
        Connect | Dns | RateLimited | Timeout | TooSlow | Truncated | FailureKind::Http(500..)
    )
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Each request's range and path; the answers that are to come are taken from the front.
    #[derive(Default)]
    struct Server {
        asked: Vec<String>,
        answers: Vec<Answer>,
    }

    /// A file under its version, or none.
    type Answer = Option<(Vec<u8>, &'static str)>;

    fn serve(stream: &TcpStream, server: &Mutex<Server>) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let mut request = Vec::new();
        for line in lines.by_ref() {
            match line? {
                line if line.is_empty() => break,
                line => request.push(line.to_ascii_lowercase()),
            }
        }
        let range = request
            .iter()
            .find_map(|line| line.strip_prefix("range: bytes="));
        let range = range.unwrap_or_default().to_owned();
        let mut server = server.lock().unwrap();
        server.asked.push(range.clone());
        let answer = match server.answers.is_empty() {
            true => None,
            false => server.answers.remove(0),
        };
        let mut stream = stream;
        let Some((file, version)) = answer else {
            return write!(
                stream,
                "HTTP/1.1 404 Gone\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        };
        let (first, last) = range.split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        let end = file.len().min(last + 1);
        let (total, length) = (file.len(), end - first);
        write!(
            stream,
            "HTTP/1.1 206 Part\r\nETag: \"{version}\"\r\nContent-Range: bytes {first}-{}/{total}\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n",
            end - 1
        )?;
        stream.write_all(&file[first..end])
    }

    fn start(answers: Vec<Answer>) -> (String, Arc<Mutex<Server>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!(
            "http://{}/a/b.warc.gz?sign=1",
            listener.local_addr().unwrap()
        );
        let asked = Vec::new();
        let server = Arc::new(Mutex::new(Server { asked, answers }));
        let shared = Arc::clone(&server);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up early is its own affair.
                let _ = serve(&stream, &shared);
            }
        });
        (name, server)
    }

    fn paths(folder: &Path, names: &[String]) -> Result<Vec<PathBuf>> {
        let crawler = m3w_crawler::Config {
            allow_private_addresses: true,
            archive_delay_ms: 0,
            ..m3w_crawler::Config::default()
        };
        let fetching = Fetching {
            folder,
            crawler: &crawler,
            is_quiet: true,
        };
        fetching.paths(names, &watch::channel(false).1)
    }

    fn file(seed: usize) -> Vec<u8> {
        let byte = |place: usize| u8::try_from(place * seed % 251).unwrap();
        (0..5 << 20).map(byte).collect()
    }

    #[test]
    fn a_file_that_broke_off_is_fetched_on_and_then_never_again() {
        let folder = tempfile::tempdir().unwrap();
        let whole = Some((file(1), "a"));
        let (name, server) = start(vec![whole.clone(), None, whole]);
        let names = ["local.warc".to_owned(), name];
        let error = paths(folder.path(), &names).unwrap_err();
        assert!(
            format!("{error:#}").contains("4194304 bytes are on disk"),
            "{error:#}"
        );
        for _ in 0..2 {
            let found = paths(folder.path(), &names).unwrap();
            let expected = folder.path().join("127.0.0.1/a/b.warc.gz");
            assert_eq!(found, [PathBuf::from("local.warc"), expected]);
            assert!(fs::read(&found[1]).unwrap() == file(1), "other bytes");
        }
        let rest = "4194304-8388607";
        assert_eq!(server.lock().unwrap().asked, ["0-4194303", rest, rest]);
    }

    #[test]
    fn a_file_that_has_changed_is_fetched_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (Some((file(1), "a")), Some((file(2), "b")));
        let (name, _) = start(vec![old, new.clone(), new.clone(), new]);
        let found = paths(folder.path(), &[name]).unwrap();
        assert!(fs::read(&found[0]).unwrap() == file(2), "other bytes");
    }

    #[test]
    fn what_cannot_be_fetched_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            format!("{:#}", paths(folder.path(), &names).unwrap_err())
        };
        assert!(refused(&["s3://bucket/a.warc"]).contains("`s3://bucket/a.warc`"));
        assert!(refused(&["http://a.test/"]).contains("names no file"));
        assert!(refused(&["http://a.test/x?1", "http://a.test/x?2"]).contains("named twice"));
    }
}
