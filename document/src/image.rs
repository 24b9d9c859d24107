//! Images: references on a page, and pictures with bytes.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::filter::text::Scores;
use crate::{ConsentSignal, Sha256};

mod animation;
mod data_mining;
mod decode;
mod jpeg;
mod layout;
mod look;
mod prepare;
mod resize;
mod shrink;

pub use data_mining::{C2PA, IPTC, data_mining};
pub use decode::{Decoded, Limits, decode, decode_scaled, sniff};
pub use prepare::{Encoding, PrepareConfig, Resize, prepare};
pub use resize::resize;
pub(crate) use resize::resize_with;

/// An image as a page names it, before anyone has fetched it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageRef {
    /// Absolute URL of the candidate that was chosen; `http`, `https` or `data`.
    pub url: Url,
    /// Other URLs of the same picture (further `srcset` candidates, `<source>`s, the live `src`
    /// of a lazy image), best first, to try if the chosen one fails.
    pub alternatives: Vec<Url>,
    /// The `alt` attribute, if it says anything.
    pub alt: Option<String>,
    /// The `title` attribute, if it says anything.
    pub title: Option<String>,
    /// The caption; the same words follow the image as a text of role
    /// [`crate::TextRole::Caption`].
    pub caption: Option<String>,
    /// Declared width in CSS pixels.
    pub declared_width_px: Option<u32>,
    /// Declared height in CSS pixels.
    pub declared_height_px: Option<u32>,
    /// Target of the link around the image, if there is one: often the full-size picture.
    pub link: Option<Url>,
    /// What the picture stands for.
    pub media: Media,
}

impl ImageRef {
    /// A reference that knows only its URL.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            alternatives: Vec::new(),
            alt: None,
            title: None,
            caption: None,
            declared_width_px: None,
            declared_height_px: None,
            link: None,
            media: Media::Image,
        }
    }

    /// A frame of the video at `source`, shown `time_ms` after its start.
    ///
    /// The time stands in the URL, as W3C's Media Fragments write it: `video.mp4#t=12.500`.
    #[must_use]
    pub fn frame(source: &Url, time_ms: u64) -> Self {
        let mut url = source.clone();
        let time = format!("t={}.{:03}", time_ms / 1000, time_ms % 1000);
        url.set_fragment(Some(&time));
        Self {
            media: Media::Frame {
                source: source.clone(),
            },
            ..Self::new(url)
        }
    }

    /// When the frame is shown, in ms from its video's start, if this is a frame.
    #[must_use]
    pub fn frame_time_ms(&self) -> Option<u64> {
        let Media::Frame { .. } = self.media else {
            return None;
        };
        crate::caption::time_ms(self.url.fragment()?.strip_prefix("t=")?)
    }
}

/// What a picture stands for on its page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Media {
    /// Itself.
    Image,
    /// A moving picture, whose first frame it is.
    Animation,
    /// A video, whose poster it is.
    Video {
        /// The video's URL, if the page names one.
        source: Option<Url>,
    },
    /// A frame of a clip. The frames of one clip follow each other in a document.
    Frame {
        /// The video's URL.
        source: Url,
    },
}

/// An image that was fetched: its bytes as they will be stored, with known size and hashes.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// What the page said of it.
    pub reference: ImageRef,
    /// The encoded picture, as stored.
    #[serde(with = "shared_bytes")]
    pub bytes: Arc<[u8]>,
    /// Encoding of [`Image::bytes`].
    pub format: Format,
    /// Width of the stored picture, upright, in pixels.
    pub width_px: u32,
    /// Height of the stored picture, upright, in pixels.
    pub height_px: u32,
    /// Width of the picture as it was fetched, upright, in pixels.
    pub fetched_width_px: u32,
    /// Height of the picture as it was fetched, upright, in pixels.
    pub fetched_height_px: u32,
    /// Hash of the bytes as they were fetched.
    pub sha256_fetched: Sha256,
    /// Hash of the bytes as they are stored.
    pub sha256_stored: Sha256,
    /// 64-bit difference hash: near pictures differ in few bits.
    pub dhash: u64,
    /// The statements on reuse that came with the image.
    pub consent: Vec<ConsentSignal>,
    /// Encoding as it was fetched; shards of earlier versions do not know it.
    pub fetched_format: Option<Format>,
    /// What was measured of it, by name: see [`crate::filter::image`].
    pub scores: Scores,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("url", &self.reference.url.as_str())
            .field("format", &self.format)
            .field("width_px", &self.width_px)
            .field("height_px", &self.height_px)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// Encoding of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP, lossy or lossless.
    WebP,
    /// GIF.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// TIFF.
    Tiff,
    /// Windows icon.
    Ico,
}

impl Format {
    /// All formats, in no order of preference.
    pub const ALL: [Self; 7] = [
        Self::Jpeg,
        Self::Png,
        Self::WebP,
        Self::Gif,
        Self::Bmp,
        Self::Tiff,
        Self::Ico,
    ];

    /// The format's name in shards and file extensions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
            Self::Ico => "ico",
        }
    }

    /// The format of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }
}

/// `Arc<[u8]>` as one run of bytes, without `serde`'s `rc` feature.
mod shared_bytes {
    use std::sync::Arc;

    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Arc<[u8]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serde_bytes::serialize(&**bytes, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<[u8]>, D::Error> {
        serde_bytes::deserialize::<Vec<u8>, D>(deserializer).map(Arc::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_knows_its_time() {
        let video = Url::parse("https://a.test/v.mp4?x=1#old").unwrap();
        let frame = ImageRef::frame(&video, 12_050);
        assert_eq!(frame.url.as_str(), "https://a.test/v.mp4?x=1#t=12.050");
        assert_eq!(frame.frame_time_ms(), Some(12_050));
        assert_eq!(ImageRef::new(frame.url).frame_time_ms(), None);
    }
}
