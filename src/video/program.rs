//! `ffmpeg` and `ffprobe` as processes with bounds.

use std::io::{BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use m3w_document::Reason;
use serde_json::Value;

use super::VideoConfig;
use super::bitmaps::Bitmaps;

/// Oldest major version: the first that knows all options used here.
const LEAST_VERSION: u32 = 4;
/// Longest description of a video.
const MAX_DESCRIPTION_BYTES: u64 = 1 << 20;
/// Time between two looks at a program that should end.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Whether the programs are there and new enough.
///
/// # Errors
///
/// Says which is not, and what to do.
pub fn check_programs() -> Result<()> {
    for program in ["ffmpeg", "ffprobe"] {
        let output = Command::new(program)
            .arg("-version")
            .stdin(Stdio::null())
            .output()
            .with_context(|| {
                format!(
                    "cannot run `{program}`, which reads videos: install ffmpeg {LEAST_VERSION} or \
                     newer"
                )
            })?;
        let said = String::from_utf8_lossy(&output.stdout);
        let version = said.split_whitespace().nth(2).unwrap_or_default();
        ensure!(
            is_new_enough(version),
            "`{program}` has version {version}: install ffmpeg {LEAST_VERSION} or newer"
        );
    }
    Ok(())
}

/// Whether a version is new enough; one that is no number is that of a build between versions.
fn is_new_enough(version: &str) -> bool {
    let number = version.trim_start_matches('n');
    let major = number.split(['.', '-']).next().unwrap_or_default();
    match major.parse::<u32>() {
        Ok(major) => major >= LEAST_VERSION,
        Err(_) => !version.is_empty(),
    }
}

/// What a video is like.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) width: u32,
    pub(super) height: u32,
    /// 0 where the file does not say.
    pub(super) duration_ms: u64,
}

/// Options that both programs get before the file: read nothing but files, and this as what it is.
fn input_options(demuxer: &str) -> Vec<String> {
    let options = [
        "-v",
        "error",
        "-protocol_whitelist",
        "file,pipe",
        "-f",
        demuxer,
    ];
    options.map(str::to_owned).to_vec()
}

/// A program below bounds of memory and processor time. The shell sets them and makes way for it,
/// so that to end the process is to end the program; where there is no such bound, it does without.
fn bounded(program: &str, config: &VideoConfig) -> Command {
    let memory_kb = config.memory_mb.saturating_mul(1024);
    let bounds = format!(
        "ulimit -v {memory_kb} 2>/dev/null; ulimit -t {} 2>/dev/null; exec \"$0\" \"$@\"",
        config.timeout_s.max(1)
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", &bounds, program])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Looks into a video.
pub(super) fn probe(path: &Path, demuxer: &str, config: &VideoConfig) -> Result<Probe, Reason> {
    let mut command = bounded("ffprobe", config);
    command
        .args(input_options(demuxer))
        .args(["-select_streams", "v:0", "-of", "json", "-show_entries"])
        .arg("format=duration:stream=width,height,duration")
        .arg(path);
    let mut description = Vec::new();
    let ended_well = run(command, config, |stdout| {
        stdout
            .take(MAX_DESCRIPTION_BYTES)
            .read_to_end(&mut description)
            .map(drop)
    })?;
    let description: Value = serde_json::from_slice(&description).unwrap_or_default();
    let probe = described(&description);
    match probe {
        Some(probe) => Ok(probe),
        None if ended_well => Err(Reason::new("video/no-pictures")),
        None => Err(Reason::new("video/damaged")),
    }
}

fn described(description: &Value) -> Option<Probe> {
    let stream = description.get("streams")?.get(0)?;
    let side = |name: &str| u32::try_from(stream.get(name)?.as_u64()?).ok();
    let seconds = |place: &Value| place.get("duration")?.as_str()?.parse::<f64>().ok();
    let duration = seconds(stream).or_else(|| description.get("format").and_then(seconds));
    let duration = duration.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
    Some(Probe {
        width: side("width")?,
        height: side("height")?,
        // A float to an integer ends at the largest; no video is that long.
        duration_ms: (duration.unwrap_or(0.0) * 1000.0) as u64,
    })
}

/// What to cut out of a video.
pub(super) struct Cut {
    pub(super) demuxer: &'static str,
    pub(super) start_ms: u64,
    pub(super) frames: u64,
    pub(super) max_frame_bytes: u64,
}

/// How long before a clip pictures are looked at: the one that is shown at its start is no older, or the
/// next one is taken for it.
const BEFORE_MS: u64 = 2000;

/// Hands on the frames of a clip as bitmaps, by number; each is the picture that is shown at its
/// time.
pub(super) fn frames(
    path: &Path,
    cut: &Cut,
    config: &VideoConfig,
    mut take: impl FnMut(u64, &[u8]),
) -> Result<(), Reason> {
    let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
    // Rounding up makes the last picture before each second the one of that second. What is shown at
    // the start may have come before it, and seeking there would drop it.
    let interval_ms = config.interval_ms.max(1);
    let before_ms = cut.start_ms.min(BEFORE_MS);
    let before = seconds(before_ms);
    let filter = format!("setpts=PTS-{before}/TB,fps=fps=1000/{interval_ms}:round=up:start_time=0");
    let mut command = bounded("ffmpeg", config);
    command
        .arg("-nostdin")
        .args(input_options(cut.demuxer))
        .args([
            "-threads",
            "1",
            "-ss",
            &seconds(cut.start_ms - before_ms),
            "-i",
        ])
        .arg(path)
        .args(["-an", "-sn", "-dn", "-map", "0:v:0", "-vf", &filter])
        .args([
            "-sws_flags",
            "bicubic+accurate_rnd+full_chroma_int+bitexact",
        ])
        .args(["-pix_fmt", "bgr24", "-frames:v", &cut.frames.to_string()])
        .args(["-threads", "1", "-c:v", "bmp", "-f", "image2pipe", "pipe:1"]);
    let mut count = 0;
    let ended_well = run(command, config, |stdout| {
        let mut bitmaps = Bitmaps::of(
            BufReader::with_capacity(1 << 16, stdout),
            cut.max_frame_bytes,
        );
        while count < cut.frames
            && let Some(bitmap) = bitmaps.next_bitmap()?
        {
            take(count, bitmap);
            count += 1;
        }
        Ok(())
    })?;
    // A video that breaks off has the frames before the break.
    if count == 0 && !ended_well {
        return Err(Reason::new("video/damaged"));
    }
    Ok(())
}

/// Runs a program to its end, or ends it when its time is over; whether it said that all went well.
fn run(
    mut command: Command,
    config: &VideoConfig,
    read: impl FnOnce(&mut std::process::ChildStdout) -> std::io::Result<()>,
) -> Result<bool, Reason> {
    let failed = |_| Reason::new("video/no-program");
    let mut child = command.spawn().map_err(failed)?;
    let Some(mut stdout) = child.stdout.take() else {
        return Err(Reason::new("video/no-program"));
    };
    let limit = Duration::from_secs(config.timeout_s.max(1));
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watcher = scope.spawn(move || watch(&mut child, limit, &is_done));
        let read = read(&mut stdout);
        // A program that still writes finds nobody who reads, and ends.
        drop(stdout);
        drop(done);
        let ended = watcher
            .join()
            .unwrap_or(Err(Reason::new("video/no-program")))?;
        Ok(ended && read.is_ok())
    })
}

/// Waits until a program ends; one that takes too long is ended. Once nobody reads any more, it has
/// a second left.
fn watch(child: &mut Child, limit: Duration, is_done: &mpsc::Receiver<()>) -> Result<bool, Reason> {
    let mut deadline = Instant::now() + limit;
    let mut is_read = false;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) => {}
            Err(_) => return Err(Reason::new("video/no-program")),
        }
        if Instant::now() >= deadline {
            // Either it is ended by this or has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            return if is_read {
                Ok(false)
            } else {
                Err(Reason::new("video/timeout"))
            };
        }
        if is_read {
            std::thread::sleep(LOOK_INTERVAL);
        } else if let Err(mpsc::RecvTimeoutError::Disconnected) =
            is_done.recv_timeout(LOOK_INTERVAL)
        {
            is_read = true;
            deadline = deadline.min(Instant::now() + Duration::from_secs(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_makers_write_them() {
        for (version, expected) in [
            ("5.1.9-0+deb12u1", true),
            ("n7.0", true),
            ("N-113007-g8d24a28d06", true),
            ("4.0", true),
            ("3.4.8", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let config = VideoConfig {
            timeout_s: 1,
            ..VideoConfig::default()
        };
        let mut command = bounded("sleep", &config);
        command.arg("60");
        let ended = run(command, &config, |stdout| {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).map(drop)
        });
        assert_eq!(ended, Err(Reason::new("video/timeout")));
    }

    #[test]
    fn the_programs_reach_neither_the_network_nor_into_other_files() {
        if let Err(error) = check_programs() {
            eprintln!("skipped: {error:#}");
            return;
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let playlist = folder.path().join("list.m3u8");
        let segment = format!("#EXTM3U\n#EXTINF:1,\nhttp://{address}/a.ts\n#EXT-X-ENDLIST\n");
        std::fs::write(&playlist, segment).unwrap();
        let name = playlist.display().to_string();
        for (place, demuxer) in [
            (format!("http://{address}/a.mp4"), "mov"),
            (format!("tcp://{address}"), "matroska"),
            // A playlist that somebody took for one, and what would read it as files in a row.
            (name.clone(), "hls"),
            (format!("concat:{name}|{name}"), "mov"),
            (format!("subfile,,start,0,end,9,,:{name}"), "mov"),
        ] {
            let found = probe(Path::new(&place), demuxer, &VideoConfig::default());
            assert!(found.is_err(), "{place}: {found:?}");
            assert!(listener.accept().is_err(), "{place} was asked for");
        }
    }

    #[test]
    fn a_description_without_a_stream_describes_nothing() {
        let of = |text: &str| described(&serde_json::from_str(text).unwrap());
        assert_eq!(of("{}"), None);
        assert_eq!(of("{\"streams\": []}"), None);
        let text =
            "{\"streams\": [{\"width\": 4, \"height\": 2}], \"format\": {\"duration\": \"1.5\"}}";
        let probe = Probe {
            width: 4,
            height: 2,
            duration_ms: 1500,
        };
        assert_eq!(of(text), Some(probe));
    }
}
