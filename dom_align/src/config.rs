//! What of a page is wanted, and how much of it is read at most.

use serde::{Deserialize, Serialize};

/// Settings of [`crate::align`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which part of the page is wanted.
    pub mode: Mode,
    /// Width in pixels that the chosen `srcset` candidate should have at least.
    ///
    /// 640 is twice the 320 pixels at which Flamingo looks at a picture while training (Alayrac et
    /// al. 2022, appendix B.1.3), so that cropping leaves enough of it.
    pub target_width_px: u32,
    /// On which side of its image a caption is put.
    pub caption_placement: CaptionPlacement,
    /// Bytes of UTF-8 after which the rest of a page is not read.
    pub max_page_bytes: usize,
    /// Open elements after which deeper start tags are ignored; their text stays. Chromium flattens
    /// pages at the same depth (`kMaximumHTMLParserDOMTreeDepth`).
    pub max_depth: usize,
    /// Nodes after which parsing stops. A node and its attributes take about 200 bytes.
    pub max_nodes: usize,
    /// Attributes of one tag after which further ones are cut out before parsing.
    pub max_attributes: usize,
    /// Images after which further ones are dropped.
    pub max_images: usize,
    /// Images with a declared side below this many CSS pixels are dropped as too small.
    pub min_declared_side_px: u32,
    /// Decoded bytes below which a `data:` image is taken for a placeholder or an icon.
    pub min_data_url_bytes: usize,
    /// Characters of a `data:` URL above which it is dropped.
    pub max_data_url_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Main,
            target_width_px: 640,
            caption_placement: CaptionPlacement::After,
            max_page_bytes: 5 << 20,
            max_depth: 512,
            max_nodes: 250_000,
            max_attributes: 256,
            max_images: 1_000,
            min_declared_side_px: 48,
            min_data_url_bytes: 2_048,
            max_data_url_bytes: 2 << 20,
        }
    }
}

/// Which part of a page becomes the document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// What a reader came for: the page without navigation, banners, related links, footers.
    #[default]
    Main,
    /// All that is visible.
    Everything,
}

/// On which side of its image a caption is put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptionPlacement {
    /// Right after the image.
    #[default]
    After,
    /// Right before the image.
    Before,
}
