//! Videos to clips: frames at one a second, as pictures.
//!
//! A video is read by the programs `ffprobe` and `ffmpeg`, each in a process of its own with a
//! bound on its memory and its time; what they find is handed on as bitmaps and goes the way of any
//! picture from there. A video from the web may be anything, so what it is is told by its first
//! bytes, only containers that hold their own pictures are taken, and the programs are told which
//! one it is and that they may read files only: a playlist in disguise leads nowhere.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use m3w_document::image::{PrepareConfig, prepare};
use m3w_document::{ConsentSignal, Image, ImageRef, Reason};
use serde::{Deserialize, Serialize};
use url::Url;

mod bitmaps;
mod program;

pub use program::check_programs;

/// Bytes in the middle of which everything that tells a container stands.
const HEAD_BYTES: usize = 64;

/// How clips are cut. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VideoConfig {
    /// Most frames of a clip.
    pub frames: u8,
    /// Time between two frames in ms.
    pub interval_ms: u64,
    /// Most time that reading one video may take, by the clock.
    pub timeout_s: u64,
    /// Most memory that a program may use while it reads one, in MB.
    pub memory_mb: u64,
}

impl Default for VideoConfig {
    /// Flamingo's clips: 8 frames, one a second (arXiv 2204.14198, section 2.4 and appendix A.3).
    fn default() -> Self {
        Self {
            frames: 8,
            interval_ms: 1000,
            timeout_s: 60,
            memory_mb: 2048,
        }
    }
}

/// What part of a video is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// A part from a start that is drawn with this seed.
    Drawn(u64),
    /// The part from here, up to the end if there is one: what is said or shown there.
    At {
        /// In ms from the video's start.
        start_ms: u64,
        /// The same; no frame comes from after it.
        end_ms: Option<u64>,
    },
}

/// The containers that are taken, by the name under which the programs know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Mp4,
    Matroska,
    Gif,
}

impl Container {
    fn demuxer(self) -> &'static str {
        match self {
            Self::Mp4 => "mov",
            Self::Matroska => "matroska",
            Self::Gif => "gif",
        }
    }

    /// What the first bytes are.
    fn of(bytes: &[u8]) -> Result<Self, Reason> {
        let head = &bytes[..bytes.len().min(HEAD_BYTES)];
        if head.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) {
            return Ok(Self::Matroska);
        }
        if head.starts_with(b"GIF8") {
            return Ok(Self::Gif);
        }
        // The first box of an MP4 or QuickTime file, after its length.
        let first_box = head.get(4..8).unwrap_or_default();
        if [&b"ftyp"[..], b"moov", b"mdat", b"wide", b"free", b"skip"].contains(&first_box) {
            return Ok(Self::Mp4);
        }
        let text = head.trim_ascii_start();
        let playlists = [
            &b"#EXTM3U"[..],
            b"ffconcat",
            b"<MPD",
            b"<?xml",
            b"[playlist]",
            b"<smil",
        ];
        if playlists.iter().any(|start| text.starts_with(start)) {
            return Err(Reason::new("video/playlist"));
        }
        Err(Reason::new("video/unknown-format"))
    }
}

/// Where a video came from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Its URL.
    pub url: Url,
    /// The statements on reuse that came with it.
    pub consent: Vec<ConsentSignal>,
    /// The day on which it was fetched, in seconds since 1970, if it was.
    pub fetched_at: Option<i64>,
}

/// The frames of a clip of the video with these bytes, in order, their times in their URLs.
///
/// Frames without content (a black one before the first scene) are left out. Memory held here is
/// one decoded frame, besides the video and the encoded frames.
///
/// # Errors
///
/// Why there is no clip: `video/...`, or what the last of its frames was dropped for.
pub fn clip(
    bytes: &[u8],
    origin: &Origin,
    span: Span,
    config: &VideoConfig,
    images: &PrepareConfig,
) -> Result<Vec<Image>, Reason> {
    let container = Container::of(bytes)?;
    let unreadable = |_| Reason::new("video/no-temporary-file");
    // MP4 needs a file: what tells where its frames are may stand at the end.
    let mut file = tempfile::NamedTempFile::new().map_err(unreadable)?;
    file.write_all(bytes).map_err(unreadable)?;
    let found = program::probe(file.path(), container.demuxer(), config)?;
    let pixels = u64::from(found.width) * u64::from(found.height);
    if pixels > images.max_pixels || found.width.max(found.height) > images.max_side_px {
        return Err(Reason::new("decode/too-many-pixels"));
    }
    let (start_ms, frames) = part(span, found.duration_ms, bytes, config)?;
    frames_from(
        file.path(),
        container,
        start_ms,
        frames,
        origin,
        config,
        images,
    )
}

/// Where the clip begins and how many frames it has at most.
fn part(
    span: Span,
    duration_ms: u64,
    bytes: &[u8],
    config: &VideoConfig,
) -> Result<(u64, u64), Reason> {
    let wanted = u64::from(config.frames.max(1));
    let interval = config.interval_ms.max(1);
    match span {
        Span::Drawn(seed) => {
            let latest = duration_ms.saturating_sub((wanted - 1) * interval + 1);
            let name = m3w_document::Sha256::of(bytes).0;
            Ok((m3w_shards::clip_start_ms(seed, &name, latest), wanted))
        }
        Span::At { start_ms, end_ms } => {
            if duration_ms > 0 && start_ms >= duration_ms {
                return Err(Reason::new("video/starts-after-its-end"));
            }
            let length = end_ms.map(|end| end.saturating_sub(start_ms));
            let fitting = length.map_or(wanted, |length| 1 + length / interval);
            Ok((start_ms, wanted.min(fitting)))
        }
    }
}

fn frames_from(
    path: &Path,
    container: Container,
    start_ms: u64,
    frames: u64,
    origin: &Origin,
    config: &VideoConfig,
    images: &PrepareConfig,
) -> Result<Vec<Image>, Reason> {
    let mut kept = Vec::new();
    let mut reason = Reason::new("video/no-frames");
    let cut = program::Cut {
        demuxer: container.demuxer(),
        start_ms,
        frames,
        // Three bytes a pixel, and a header.
        max_frame_bytes: images.max_pixels.saturating_mul(4).saturating_add(1024),
    };
    program::frames(path, &cut, config, |number, bitmap| {
        let time_ms = start_ms + number * config.interval_ms;
        let reference = ImageRef::frame(&origin.url, time_ms);
        match prepare(reference, bitmap, origin.consent.clone(), images) {
            Ok(image) => kept.push(image),
            Err(of_frame) => reason = of_frame,
        }
    })?;
    if kept.is_empty() {
        Err(reason)
    } else {
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_video_is_is_told_by_its_first_bytes() {
        let name = |bytes: &[u8]| match Container::of(bytes) {
            Ok(container) => container.demuxer().to_owned(),
            Err(reason) => reason.name.to_string(),
        };
        for (bytes, expected) in [
            (&b"\0\0\0\x20ftypisom"[..], "mov"),
            (b"\x1a\x45\xdf\xa3....", "matroska"),
            (b"GIF89a", "gif"),
            (b"#EXTM3U\n#EXT-X", "video/playlist"),
            (b" \n<?xml version=\"1.0\"?><MPD", "video/playlist"),
            (b"ffconcat version 1.0", "video/playlist"),
            (b"<html>", "video/unknown-format"),
            (b"", "video/unknown-format"),
        ] {
            assert_eq!(name(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_drawn_clip_lies_within_the_video_and_one_with_times_where_they_say() {
        let config = VideoConfig::default();
        for seed in 0..50 {
            let (start, frames) = part(Span::Drawn(seed), 20_000, b"v", &config).unwrap();
            assert!(start + 7000 < 20_000 && frames == 8, "{start}");
        }
        let drawn = part(Span::Drawn(1), 3000, b"v", &config).unwrap();
        assert_eq!(drawn, (0, 8));
        let at = |start_ms, end_ms| part(Span::At { start_ms, end_ms }, 20_000, b"v", &config);
        assert_eq!(at(5000, None).unwrap(), (5000, 8));
        assert_eq!(at(5000, Some(7500)).unwrap(), (5000, 3));
        assert_eq!(at(5000, Some(4000)).unwrap(), (5000, 1));
        assert_eq!(
            at(20_000, None).unwrap_err().name,
            "video/starts-after-its-end"
        );
    }
}
