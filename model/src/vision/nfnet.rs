//! NFNet-F (Brock et al. 2021, arXiv 2102.06171) under timm's tensor names (`dm_nfnet_f0` to
//! `dm_nfnet_f6`): a residual network without normalisation, whose weights are standardised instead.
//!
//! It gives the output of the last stage, one token a place. The convolution and the classifier
//! behind it are not loaded; a file may hold them. Residual branches keep the variance in check: what
//! enters one is divided by the deviation expected there, and its result is scaled by 0.2.

use candle_core::{D, Tensor};

use super::check_size;
use crate::Result;
use crate::config::{Activation, NfnetConfig};
use crate::init::{Init, ParameterStore};
use crate::linear::product;
use crate::ops;

/// Scale of a residual branch (alpha).
const BRANCH_SCALE: f64 = 0.2;
/// Keeps the variance of a standard normal input through the exact GELU.
const GELU_GAIN: f64 = 1.701_504_349_708_557_1;
/// What a squeeze-and-excitation gate, about one half at the start, is made up for by.
const GATE_GAIN: f64 = 2.0;
/// Added to a weight's variance.
const VARIANCE_EPSILON: f64 = 1e-5;

/// The encoder: `[M, 3, H, W]` pictures to `[M, places, width]` tokens.
pub struct Nfnet {
    image_side: usize,
    stem: Vec<Convolution>,
    stages: Vec<Vec<Block>>,
}

impl Nfnet {
    /// Builds the encoder for pictures of `image_side` pixels from parameters under `prefix`.
    ///
    /// # Errors
    /// A parameter is missing or has another shape.
    pub fn new(
        config: &NfnetConfig,
        image_side: usize,
        parameters: &mut ParameterStore,
        prefix: &str,
    ) -> Result<Self> {
        let stem_width = config.stem_width;
        let widths = [8, 4, 2, 1].map(|part| stem_width / part);
        let mut inputs = 3;
        let mut stem = Vec::new();
        for (index, (outputs, stride)) in widths.into_iter().zip([2, 1, 1, 2]).enumerate() {
            let name = format!("{prefix}.stem.conv{}", index + 1);
            let window = Window { side: 3, stride };
            stem.push(Convolution::new(
                parameters,
                &name,
                [outputs, inputs],
                window,
                1,
            )?);
            inputs = outputs;
        }
        let mut variance = 1.0;
        let mut stages = Vec::new();
        for (stage, (depth, width)) in config.depths.iter().zip(&config.widths).enumerate() {
            let mut blocks = Vec::new();
            for index in 0..*depth {
                let sizes = BlockSizes {
                    inputs,
                    outputs: *width,
                    stride: if index == 0 && stage > 0 { 2 } else { 1 },
                    group_width: config.group_width,
                    deviation: f64::sqrt(variance),
                };
                let name = format!("{prefix}.stages.{stage}.{index}");
                blocks.push(Block::new(parameters, &name, &sizes)?);
                // A stage's first block starts the sum of variances anew.
                variance = if index == 0 { 1.0 } else { variance } + BRANCH_SCALE * BRANCH_SCALE;
                inputs = *width;
            }
            stages.push(blocks);
        }
        Ok(Self {
            image_side,
            stem,
            stages,
        })
    }

    /// `[M, 3, H, W]` normalised pixels to `[M, places, width]`, row by row of the picture.
    ///
    /// # Errors
    /// The pictures have another size than the encoder.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        check_size(pixels, self.image_side)?;
        let mut hidden = pixels.clone();
        for (index, convolution) in self.stem.iter().enumerate() {
            if index > 0 {
                hidden = activate(&hidden)?;
            }
            hidden = convolution.forward(&hidden)?;
        }
        for block in self.stages.iter().flatten() {
            hidden = block.forward(&hidden)?;
        }
        // [M, width, rows, columns] to [M, places, width]
        Ok(hidden.flatten_from(2)?.transpose(1, 2)?.contiguous()?)
    }
}

struct BlockSizes {
    inputs: usize,
    outputs: usize,
    stride: usize,
    group_width: usize,
    /// Expected deviation of what enters.
    deviation: f64,
}

struct Block {
    shortcut: Option<Convolution>,
    stride: usize,
    deviation: f64,
    convolutions: [Convolution; 4],
    squeeze: Pointwise,
    excite: Pointwise,
    gain: Tensor,
}

impl Block {
    fn new(parameters: &mut ParameterStore, name: &str, sizes: &BlockSizes) -> Result<Self> {
        let BlockSizes {
            inputs,
            outputs,
            stride,
            group_width,
            deviation,
        } = *sizes;
        let groups = divisible(outputs as f64 / 2.0, 8, 0.9) / group_width;
        let middle = groups * group_width;
        let one = Window { side: 1, stride: 1 };
        let three = |stride| Window { side: 3, stride };
        let mut convolution = |part: &str, shape, window, groups| {
            Convolution::new(parameters, &format!("{name}.{part}"), shape, window, groups)
        };
        let is_changed = inputs != outputs || stride != 1;
        let shortcut = is_changed
            .then(|| convolution("downsample.conv", [outputs, inputs], one, 1))
            .transpose()?;
        let convolutions = [
            convolution("conv1", [middle, inputs], one, 1)?,
            convolution("conv2", [middle, middle], three(stride), groups)?,
            convolution("conv2b", [middle, middle], three(1), groups)?,
            convolution("conv3", [outputs, middle], one, 1)?,
        ];
        let squeezed = divisible(outputs as f64 / 2.0, 8, 0.0);
        let gate = format!("{name}.attn_last");
        Ok(Self {
            shortcut,
            stride,
            deviation,
            convolutions,
            squeeze: Pointwise::new(parameters, &format!("{gate}.fc1"), [squeezed, outputs])?,
            excite: Pointwise::new(parameters, &format!("{gate}.fc2"), [outputs, squeezed])?,
            gain: parameters.get(&format!("{name}.skipinit_gain"), &[], Init::Zeros)?,
        })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let entering = (activate(input)? * (1.0 / self.deviation))?;
        let shortcut = match &self.shortcut {
            Some(convolution) => convolution.forward(&halved(&entering, self.stride)?)?,
            None => input.clone(),
        };
        let [first, rest @ ..] = &self.convolutions;
        let mut branch = first.forward(&entering)?;
        for convolution in rest {
            branch = convolution.forward(&activate(&branch)?)?;
        }
        // How much each channel counts, from its mean over the picture.
        let mean = branch.mean(D::Minus1)?.mean(D::Minus1)?; // [M, channels]
        let gate = self.excite.forward(&self.squeeze.forward(&mean)?.relu()?)?;
        let gate = ((gate * 0.5)?.tanh()? + 1.0)?.affine(0.5, 0.0)?;
        let gate = gate.unsqueeze(2)?.unsqueeze(3)?;
        let branch = (branch.broadcast_mul(&gate)? * GATE_GAIN)?;
        let branch = (branch.broadcast_mul(&self.gain.to_dtype(branch.dtype())?)? * BRANCH_SCALE)?;
        Ok((branch + shortcut)?)
    }
}

/// A square convolution window.
#[derive(Clone, Copy)]
struct Window {
    side: usize,
    stride: usize,
}

/// A convolution whose weight is standardised for each output: mean 0, variance one over the
/// inputs, times a learnt gain. Pictures are padded so that only the stride makes them smaller.
struct Convolution {
    weight: Tensor,
    gain: Tensor,
    bias: Tensor,
    window: Window,
    groups: usize,
}

impl Convolution {
    fn new(
        parameters: &mut ParameterStore,
        name: &str,
        [outputs, inputs]: [usize; 2],
        window: Window,
        groups: usize,
    ) -> Result<Self> {
        let shape = [outputs, inputs / groups, window.side, window.side];
        let fan_in = shape[1..].iter().product();
        let init = Init::fan_in(fan_in, 1.0);
        Ok(Self {
            weight: parameters.get(&format!("{name}.weight"), &shape, init)?,
            gain: parameters.get(&format!("{name}.gain"), &[outputs, 1, 1, 1], Init::Ones)?,
            bias: parameters.get(&format!("{name}.bias"), &[outputs], Init::Zeros)?,
            window,
            groups,
        })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let Window { side, stride } = self.window;
        let mut padded = input.clone();
        for dimension in [2, 3] {
            let length = input.dim(dimension)?;
            let covered = (length.div_ceil(stride) - 1) * stride + side;
            let missing = covered.saturating_sub(length);
            padded = padded.pad_with_zeros(dimension, missing / 2, missing - missing / 2)?;
        }
        let weight = self.standardised()?.to_dtype(input.dtype())?;
        let output = padded.conv2d(&weight, 0, stride, 1, self.groups)?;
        let bias = self.bias.reshape((1, (), 1, 1))?;
        Ok(output.broadcast_add(&bias.to_dtype(output.dtype())?)?)
    }

    fn standardised(&self) -> Result<Tensor> {
        let rows = self.weight.flatten_from(1)?; // [outputs, fan-in]
        let fan_in = rows.dim(1)?;
        let centred = rows.broadcast_sub(&rows.mean_keepdim(1)?)?;
        let variance = centred.sqr()?.mean_keepdim(1)?;
        let deviation = (variance + VARIANCE_EPSILON)?.sqrt()?;
        let gain = (self.gain.reshape(((), 1))? * (fan_in as f64).powf(-0.5))?;
        let factor = gain.broadcast_div(&deviation)?;
        Ok(centred
            .broadcast_mul(&factor)?
            .reshape(self.weight.shape())?)
    }
}

/// A map of each place's channels, stored as a convolution of side 1.
struct Pointwise {
    weight: Tensor,
    bias: Tensor,
}

impl Pointwise {
    fn new(
        parameters: &mut ParameterStore,
        name: &str,
        [outputs, inputs]: [usize; 2],
    ) -> Result<Self> {
        let init = Init::fan_in(inputs, 1.0);
        let shape = [outputs, inputs, 1, 1];
        Ok(Self {
            weight: parameters.get(&format!("{name}.weight"), &shape, init)?,
            bias: parameters.get(&format!("{name}.bias"), &[outputs], Init::Zeros)?,
        })
    }

    /// `[M, in]` to `[M, out]`.
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let output = product(input, &self.weight.flatten_from(1)?)?;
        Ok(output.broadcast_add(&self.bias.to_dtype(output.dtype())?)?)
    }
}

fn activate(input: &Tensor) -> Result<Tensor> {
    Ok((ops::activate(Activation::Gelu, input)? * GELU_GAIN)?)
}

/// Means of windows of `stride` x `stride`; those at an odd edge are of what is inside.
fn halved(input: &Tensor, stride: usize) -> Result<Tensor> {
    if stride == 1 {
        return Ok(input.clone());
    }
    let mut even = input.clone();
    for dimension in [2, 3] {
        // A repeated edge does not change the mean of a window that has only that.
        let odd = input.dim(dimension)? % stride;
        even = even.pad_with_same(dimension, 0, odd)?;
    }
    Ok(even.avg_pool2d(stride)?)
}

/// The multiple of `divisor` next to `value`, one more where that loses more than `kept` allows.
fn divisible(value: f64, divisor: usize, kept: f64) -> usize {
    let nearest = (value as usize + divisor / 2) / divisor * divisor;
    let found = nearest.max(divisor);
    if (found as f64) < kept * value {
        found + divisor
    } else {
        found
    }
}
