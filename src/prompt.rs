//! Prompts of pictures, clips and words, and the files that hold them.
//!
//! A prompt file is a JSON list of parts in the order in which the model reads them:
//!
//! ```json
//! [
//!   {"image": "cat.jpg"},
//!   {"text": "Output: a cat."},
//!   {"video": "street.mp4", "start_s": 3, "end_s": 9.5, "most_frames": 8},
//!   {"frames": ["first.png", "second.png"]},
//!   {"text": "Output:"}
//! ]
//! ```
//!
//! Paths count from the file's own folder. A video gives a frame a second from `start_s` (0) up to
//! `end_s` (its end), at most `most_frames` (8) of them; `frames` are pictures that are one clip
//! together.

mod tokens;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde::Deserialize;
use url::Url;

use crate::video::{Origin, Span, VideoConfig, check_programs, clip};

pub use tokens::PromptTokens;

/// Most pictures and clips of a prompt: as many as the paper shows a model at once.
pub const MAX_MEDIA: usize = 32;

/// Most frames of a clip.
pub const MAX_FRAMES: u8 = 64;

/// Longest prompt file.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Largest file of a picture that is read.
const MAX_PICTURE_BYTES: u64 = 64 << 20;

/// Longest video that is read.
const MAX_VIDEO_BYTES: u64 = 1 << 30;

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// A picture, in a file.
    Picture(PathBuf),
    /// A picture, encoded, that somebody sent.
    Sent(Bytes),
    /// A part of a video.
    Video(VideoPart),
    /// A clip whose frames are pictures, each in a file.
    Frames(Vec<PathBuf>),
    /// Words.
    Text(String),
}

/// A part of a video.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoPart {
    /// The video's file.
    #[serde(rename = "video")]
    pub path: PathBuf,
    /// Where the part begins, in seconds.
    #[serde(default)]
    pub start_s: f64,
    /// Where it ends; `None` for the video's end.
    #[serde(default)]
    pub end_s: Option<f64>,
    /// Most frames, one a second.
    #[serde(default = "default_frames")]
    pub most_frames: u8,
}

fn default_frames() -> u8 {
    VideoConfig::default().frames
}

impl VideoPart {
    /// The first seconds of a video.
    #[must_use]
    pub fn from_start(path: PathBuf) -> Self {
        Self {
            path,
            start_s: 0.0,
            end_s: None,
            most_frames: default_frames(),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    Picture(PicturePart),
    Video(VideoPart),
    Frames(FramesPart),
    Text(TextPart),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PicturePart {
    image: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FramesPart {
    frames: Vec<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextPart {
    text: String,
}

impl Piece {
    /// Whether an `<image>` token stands for it.
    #[must_use]
    pub fn is_medium(&self) -> bool {
        !matches!(self, Self::Text(_))
    }

    /// Its frames as encoded pictures, one for a still picture; none for words.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or a video cannot be cut.
    pub(crate) fn frames(&self) -> Result<Vec<(String, Vec<u8>)>> {
        match self {
            Self::Picture(path) => Ok(vec![picture(path)?]),
            Self::Sent(bytes) => Ok(vec![("the picture sent".to_owned(), bytes.to_vec())]),
            Self::Frames(paths) => paths.iter().map(|path| picture(path)).collect(),
            Self::Video(part) => part.frames(),
            Self::Text(_) => Ok(Vec::new()),
        }
    }
}

/// A picture's name for messages, and its bytes.
fn picture(path: &Path) -> Result<(String, Vec<u8>)> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    // A device or a pipe does not say how long it is, so no more is taken than may be there.
    fs::File::open(path)
        .and_then(|file| file.take(MAX_PICTURE_BYTES + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read the picture {name}"))?;
    if bytes.len() as u64 > MAX_PICTURE_BYTES {
        bail!("the picture {name} has more than {MAX_PICTURE_BYTES} bytes");
    }
    Ok((name, bytes))
}

impl VideoPart {
    fn frames(&self) -> Result<Vec<(String, Vec<u8>)>> {
        check_programs()?;
        let name = self.path.display().to_string();
        let size = fs::metadata(&self.path)
            .with_context(|| format!("cannot read the video {name}"))?
            .len();
        if size > MAX_VIDEO_BYTES {
            bail!("the video {name} has {size} bytes: cut it to {MAX_VIDEO_BYTES} at most");
        }
        let bytes =
            fs::read(&self.path).with_context(|| format!("cannot read the video {name}"))?;
        let whole = fs::canonicalize(&self.path)?;
        let Ok(url) = Url::from_file_path(&whole) else {
            bail!("{name} has no address as a file");
        };
        let origin = Origin {
            url,
            consent: Vec::new(),
            fetched_at: None,
        };
        let milliseconds = |seconds: f64| (seconds * 1000.0) as u64;
        let span = Span::At {
            start_ms: milliseconds(self.start_s),
            end_ms: self.end_s.map(milliseconds),
        };
        let config = VideoConfig {
            frames: self.most_frames,
            ..VideoConfig::default()
        };
        let images = clip(&bytes, &origin, span, &config, &Default::default());
        let images = images.map_err(|reason| anyhow::anyhow!("{name}: {reason}"))?;
        let numbered = images.into_iter().enumerate();
        Ok(numbered
            .map(|(number, image)| {
                (
                    format!("{name}, frame {}", number + 1),
                    image.bytes.to_vec(),
                )
            })
            .collect())
    }

    fn check(&self) -> Result<()> {
        let is_time = |seconds: f64| seconds.is_finite() && (0.0..1e9).contains(&seconds);
        if !is_time(self.start_s) || self.end_s.is_some_and(|end| !is_time(end)) {
            bail!("`start_s` and `end_s` are seconds from the video's start");
        }
        if self.end_s.is_some_and(|end| end < self.start_s) {
            bail!("`end_s` lies before `start_s`");
        }
        if !(1..=MAX_FRAMES).contains(&self.most_frames) {
            bail!("`most_frames` must lie between 1 and {MAX_FRAMES}");
        }
        Ok(())
    }
}

/// Reads a prompt file.
///
/// # Errors
///
/// If it cannot be read or is no prompt; the message names the part, counted from 1.
pub fn read_prompt(path: &Path) -> Result<Vec<Piece>> {
    let name = path.display();
    let file = fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {name}"))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        bail!("{name} is longer than {MAX_FILE_BYTES} bytes");
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&text, folder).with_context(|| format!("{name} is no prompt"))
}

/// The pieces of a prompt file's text; paths count from `folder`.
fn parse(text: &str, folder: &Path) -> Result<Vec<Piece>> {
    let parts: Vec<serde_json::Value> = serde_json::from_str(text)
        .context("it must be a JSON list of parts like {\"image\": \"cat.jpg\"}")?;
    let mut pieces = Vec::with_capacity(parts.len());
    for (index, part) in parts.into_iter().enumerate() {
        let piece = piece(&part, folder);
        pieces.push(piece.with_context(|| format!("part {}", index + 1))?);
    }
    Ok(pieces)
}

fn piece(part: &serde_json::Value, folder: &Path) -> Result<Piece> {
    let Ok(read) = Part::deserialize(part) else {
        bail!(
            "{part} is none of {{\"image\": FILE}}, {{\"text\": WORDS}}, {{\"frames\": [FILE, …]}} and \
             {{\"video\": FILE, \"start_s\": …, \"end_s\": …, \"most_frames\": …}}"
        );
    };
    Ok(match read {
        Part::Picture(part) => Piece::Picture(folder.join(part.image)),
        Part::Text(part) => Piece::Text(part.text),
        Part::Frames(part) => {
            if part.frames.is_empty() || part.frames.len() > usize::from(MAX_FRAMES) {
                bail!(
                    "a clip has 1 to {MAX_FRAMES} frames, not {}",
                    part.frames.len()
                );
            }
            let paths = part.frames.iter().map(|path| folder.join(path));
            Piece::Frames(paths.collect())
        }
        Part::Video(part) => {
            part.check()?;
            Piece::Video(VideoPart {
                path: folder.join(&part.path),
                ..part
            })
        }
    })
}

/// Refuses a prompt with too many pictures and clips.
pub(crate) fn check_media(pieces: &[Piece]) -> Result<()> {
    let media = pieces.iter().filter(|piece| piece.is_medium()).count();
    if media > MAX_MEDIA {
        bail!("a prompt holds at most {MAX_MEDIA} pictures and clips, this one has {media}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_order_and_paths_count_from_the_files_folder() {
        let text = r#"[{"image": "a.png"}, {"text": "one"},
            {"video": "v.mp4", "start_s": 1.5}, {"frames": ["b.png", "/c.png"]}]"#;
        let video = VideoPart {
            path: "at/v.mp4".into(),
            start_s: 1.5,
            end_s: None,
            most_frames: 8,
        };
        let expected = [
            Piece::Picture("at/a.png".into()),
            Piece::Text("one".to_owned()),
            Piece::Video(video),
            Piece::Frames(vec!["at/b.png".into(), "/c.png".into()]),
        ];
        assert_eq!(parse(text, Path::new("at")).unwrap(), expected);
    }

    #[test]
    fn what_is_no_part_is_named_by_its_number() {
        for (text, expected) in [
            ("{}", "it must be a JSON list"),
            (r#"[{"text": "a"}, {"image": 3}]"#, "part 2"),
            (r#"[{"image": "a", "text": "b"}]"#, "part 1"),
            (r#"[{"frames": []}]"#, "1 to 64 frames, not 0"),
            (
                r#"[{"video": "v", "start_s": -1}]"#,
                "seconds from the video's start",
            ),
            (
                r#"[{"video": "v", "start_s": 2, "end_s": 1}]"#,
                "before `start_s`",
            ),
            (r#"[{"video": "v", "most_frames": 0}]"#, "between 1 and 64"),
        ] {
            let error = parse(text, Path::new("")).unwrap_err();
            let message = format!("{error:#}");
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_picture_without_an_end_is_not_read_to_it() {
        let piece = Piece::Picture("/dev/zero".into());
        let message = piece.frames().unwrap_err().to_string();
        assert!(message.contains("/dev/zero has more than"), "{message}");
    }

    #[test]
    fn more_than_thirty_two_pictures_are_refused() {
        let pieces = vec![Piece::Picture("a".into()); MAX_MEDIA + 1];
        assert!(check_media(&pieces[1..]).is_ok());
        assert!(
            check_media(&pieces)
                .unwrap_err()
                .to_string()
                .contains("has 33")
        );
    }
}
