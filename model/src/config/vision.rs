//! Sizes and choices of the picture encoder.

use serde::{Deserialize, Serialize};

use super::{Activation, is_false, is_true, is_zero, require, yes};
use crate::Result;

/// The picture encoder: a CLIP-type vision transformer (Radford et al. 2021), or an NFNet (Brock et
/// al. 2021) where `nfnet` is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisionConfig {
    /// Side of the square picture, in pixels.
    pub image_side_px: usize,
    /// Channels of a patch token.
    pub width: usize,
    /// Side of a square patch, in pixels. What is over at the picture's right and lower edge is not
    /// looked at.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub patch_side_px: usize,
    /// Transformer layers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub layers: usize,
    /// Attention heads; divide `width`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub heads: usize,
    /// Width of the hidden feed-forward layer, as a multiple of `width`, rounded down.
    #[serde(default = "four_times")]
    pub feed_forward_multiple: f64,
    /// `quick_gelu` for OpenAI's weights, `gelu` for most of open_clip's.
    #[serde(default)]
    pub activation: Activation,
    /// Whether a class token takes part in attention, as in CLIP. SigLIP has none.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub class_token: bool,
    /// Whether the class token stays in the result, before the patches, as in Idefics.
    #[serde(default, skip_serializing_if = "is_false")]
    pub keeps_class_token: bool,
    /// Whether the map of patches has a bias, as in SigLIP.
    #[serde(default, skip_serializing_if = "is_false")]
    pub patch_bias: bool,
    /// Whether a norm stands before the first layer, as in CLIP. SigLIP has none.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub norm_before: bool,
    /// Whether the norm behind the last layer is applied to patch tokens. OpenFlamingo's models were
    /// trained without.
    #[serde(default, skip_serializing_if = "is_false")]
    pub norm_after: bool,
    /// Added under the root of a norm; 1e-5, as in CLIP, where it is not given. 1e-6 in SigLIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm_epsilon: Option<f64>,
    /// Sizes of an NFNet; patches, layers and heads are not given then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nfnet: Option<NfnetConfig>,
}

/// An NFNet-F (Brock et al. 2021, table 1), up to its last stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NfnetConfig {
    /// Blocks in each stage: 1, 2, 6 and 3 times one more than the F's number.
    pub depths: Vec<usize>,
    /// Channels of each stage; the last is `width`.
    #[serde(default = "nfnet_widths")]
    pub widths: Vec<usize>,
    /// Channels of the stem's last convolution, an eighth, a quarter and half of them before.
    #[serde(default = "nfnet_stem_width")]
    pub stem_width: usize,
    /// Channels of a group in the 3 x 3 convolutions.
    #[serde(default = "nfnet_group_width")]
    pub group_width: usize,
}

impl NfnetConfig {
    /// F0 to F6.
    #[must_use]
    pub fn f(number: usize) -> Self {
        Self {
            depths: [1, 2, 6, 3].map(|depth| depth * (number + 1)).to_vec(),
            widths: nfnet_widths(),
            stem_width: nfnet_stem_width(),
            group_width: nfnet_group_width(),
        }
    }
}

fn nfnet_widths() -> Vec<usize> {
    vec![256, 512, 1536, 1536]
}

fn nfnet_stem_width() -> usize {
    128
}

fn nfnet_group_width() -> usize {
    128
}

fn four_times() -> f64 {
    4.0
}

impl VisionConfig {
    /// Width of a transformer's hidden feed-forward layer.
    #[must_use]
    pub fn feed_forward_channels(&self) -> usize {
        (self.width as f64 * self.feed_forward_multiple) as usize
    }

    /// Tokens that come of one picture.
    #[must_use]
    pub fn tokens(&self) -> usize {
        let side = match &self.nfnet {
            None => self.image_side_px / self.patch_side_px.max(1),
            // The stem halves twice, each stage but the first once more, rounding up.
            Some(nfnet) => {
                (0..nfnet.depths.len() + 1).fold(self.image_side_px, |side, _| side.div_ceil(2))
            }
        };
        side * side + usize::from(self.keeps_class_token)
    }

    pub(crate) fn validate(&self) -> Result<()> {
        require(
            self.image_side_px > 0 && self.width > 0,
            "vision.width",
            self.width,
            "it and vision.image_side_px must be at least 1",
        )?;
        require(
            !self.keeps_class_token || (self.class_token && self.nfnet.is_none()),
            "vision.keeps_class_token",
            self.keeps_class_token,
            "only a transformer with a class token can keep it",
        )?;
        if let Some(nfnet) = &self.nfnet {
            let fits = nfnet.widths.len() == nfnet.depths.len()
                && nfnet.widths.last() == Some(&self.width)
                && nfnet
                    .depths
                    .iter()
                    .chain(&nfnet.widths)
                    .all(|size| *size > 0);
            require(
                fits && nfnet.stem_width >= 8,
                "vision.nfnet.widths",
                format!("{:?}", nfnet.widths),
                "there must be one for each of vision.nfnet.depths, the last vision.width, and a \
                 stem of 8 channels or more",
            )?;
            let group = nfnet.group_width;
            let fits = nfnet
                .widths
                .iter()
                .all(|width| group > 0 && width / 2 >= group);
            return require(
                fits,
                "vision.nfnet.group_width",
                group,
                "it must be at least 1 and at most half of each of vision.nfnet.widths",
            );
        }
        for (setting, value) in [
            ("vision.patch_side_px", self.patch_side_px),
            ("vision.layers", self.layers),
            ("vision.heads", self.heads),
        ] {
            require(value > 0, setting, value, "it must be at least 1")?;
        }
        require(
            self.feed_forward_multiple.is_finite() && self.feed_forward_channels() > 0,
            "vision.feed_forward_multiple",
            self.feed_forward_multiple,
            "it must leave a hidden layer of at least one channel",
        )?;
        require(
            self.patch_side_px <= self.image_side_px,
            "vision.patch_side_px",
            self.patch_side_px,
            "it must be at most vision.image_side_px",
        )?;
        let epsilon = self.norm_epsilon.unwrap_or(1e-5);
        require(
            epsilon > 0.0 && epsilon.is_finite(),
            "vision.norm_epsilon",
            epsilon,
            "it must be above 0",
        )?;
        require(
            self.width.is_multiple_of(self.heads),
            "vision.heads",
            self.heads,
            "it must divide vision.width",
        )
    }
}
