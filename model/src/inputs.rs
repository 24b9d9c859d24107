//! What a model is given: token ids, image indices and pixels, with their shapes checked.

use candle_core::{DType, Tensor};

use crate::special_tokens::SpecialTokens;
use crate::{Error, Result};

/// A batch: B rows of L tokens, each with up to N images (or clips) of F frames.
///
/// Rows are padded at their end. Causal attention keeps padding out of the text before it, so no
/// attention mask is needed; what is computed at padding means nothing and is no target.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Token ids, `[B, L]` u32.
    pub tokens: Tensor,
    /// For each token the number of the image it attends to, `[B, L]` u8, 1 for the row's first
    /// image. 0, or a number beyond N, attends to nothing. `None` means the last `<image>` at or
    /// before the token.
    pub image_index: Option<Tensor>,
    /// Normalised pixels, `[B, N, F, 3, H, W]` f32. Slots that no token attends to are not read,
    /// whatever they hold. All F frames of a slot are read.
    pub pixels: Tensor,
    /// Which tokens the loss counts, `[B, L]` u8 or f32: a token is a target where its own entry
    /// is not 0 (it is predicted from the token before it; a row's first token never counts).
    /// `None` means all but padding and `<image>`.
    pub loss_mask: Option<Tensor>,
}

impl Inputs {
    /// Puts a batch together.
    ///
    /// # Errors
    /// [`Error::Input`] names the tensor whose shape or type does not fit.
    pub fn new(
        tokens: Tensor,
        image_index: Option<Tensor>,
        pixels: Tensor,
        loss_mask: Option<Tensor>,
    ) -> Result<Self> {
        expect(
            tokens.rank() == 2 && tokens.dtype() == DType::U32 && tokens.elem_count() > 0,
            "tokens",
            "[B, L] u32 with B and L above 0",
            &tokens,
        )?;
        if let Some(index) = &image_index {
            expect(
                index.dims() == tokens.dims() && index.dtype() == DType::U8,
                "image_index",
                &format!("{:?} u8, as the tokens", tokens.dims()),
                index,
            )?;
        }
        let rows = tokens.dim(0)?;
        expect(
            pixels.rank() == 6
                && pixels.dims()[0] == rows
                && pixels.dims()[3] == 3
                && pixels.elem_count() > 0
                && pixels.dtype() == DType::F32,
            "pixels",
            &format!("[{rows}, N, F, 3, H, W] f32 with N and F above 0"),
            &pixels,
        )?;
        if let Some(mask) = &loss_mask {
            expect(
                mask.dims() == tokens.dims() && matches!(mask.dtype(), DType::U8 | DType::F32),
                "loss_mask",
                &format!("{:?} u8 or f32, as the tokens", tokens.dims()),
                mask,
            )?;
        }
        Ok(Self {
            tokens,
            image_index,
            pixels,
            loss_mask,
        })
    }

    /// Rows and tokens in a row.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.tokens.dims()[0], self.tokens.dims()[1])
    }

    /// How many targets the loss is the mean of.
    ///
    /// # Errors
    /// The tensors cannot be read.
    pub fn target_count(&self, special: &SpecialTokens) -> Result<usize> {
        Ok(self.targets(special)?.1.len())
    }

    /// The image index of each token, given or derived, row by row.
    pub(crate) fn image_indices(&self, special: &SpecialTokens) -> Result<Vec<Vec<u8>>> {
        match &self.image_index {
            Some(index) => Ok(index.to_vec2()?),
            None => Ok(self
                .tokens
                .to_vec2::<u32>()?
                .iter()
                .map(|row| last_image_before(row, special.image))
                .collect()),
        }
    }

    /// Positions, in the batch laid out as B * L, whose hidden state predicts a target, and those
    /// targets.
    pub(crate) fn targets(&self, special: &SpecialTokens) -> Result<(Vec<u32>, Vec<u32>)> {
        let (_, length) = self.size();
        let tokens: Vec<u32> = self.tokens.flatten_all()?.to_vec1()?;
        let counts: Vec<bool> = match &self.loss_mask {
            Some(mask) => {
                let mask = mask.flatten_all()?.to_dtype(DType::F32)?;
                mask.to_vec1::<f32>()?.iter().map(|m| *m != 0.0).collect()
            }
            None => tokens
                .iter()
                .map(|token| *token != special.pad && *token != special.image)
                .collect(),
        };
        Ok((0..tokens.len())
            .filter(|at| at % length != 0 && counts[*at])
            .map(|at| (at as u32 - 1, tokens[at]))
            .unzip())
    }
}

/// The number of `<image>` tokens at or before each token: the image it belongs to, 0 for none.
///
/// Counts beyond 255 stay at 255, which is beyond the images of any batch as well.
pub(crate) fn last_image_before(tokens: &[u32], image: u32) -> Vec<u8> {
    let mut count = 0_u8;
    tokens
        .iter()
        .map(|token| {
            count = count.saturating_add(u8::from(*token == image));
            count
        })
        .collect()
}

/// Which tokens of an interleaved row OpenFlamingo counts (`train_utils.py`), 1 for a target: those
/// behind an `<image>` up to and including the next `<EOC>`. Text before the first image and between
/// an `<EOC>` and the next image is none, nor are `<image>` and padding.
#[must_use]
pub fn chunk_targets(tokens: &[u32], special: &SpecialTokens) -> Vec<u8> {
    let mut is_inside = false;
    tokens
        .iter()
        .map(|token| {
            if *token == special.image {
                is_inside = true;
                return 0;
            }
            let is_target = is_inside && *token != special.pad;
            is_inside &= *token != special.end_of_chunk;
            u8::from(is_target)
        })
        .collect()
}

fn expect(holds: bool, what: &'static str, expected: &str, found: &Tensor) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::Input {
        what,
        expected: expected.to_owned(),
        found: format!("{:?} {}", found.dims(), found.dtype().as_str()),
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    const SPECIAL: SpecialTokens = SpecialTokens {
        image: 9,
        end_of_chunk: 8,
        bos: 1,
        eos: 2,
        pad: 0,
        around_image: None,
    };

    fn inputs(tokens: &[u32], loss_mask: Option<&[u8]>) -> Inputs {
        let shape = (1, tokens.len());
        let cpu = &Device::Cpu;
        Inputs::new(
            Tensor::from_slice(tokens, shape, cpu).unwrap(),
            None,
            Tensor::zeros((1, 1, 1, 3, 4, 4), DType::F32, cpu).unwrap(),
            loss_mask.map(|mask| Tensor::from_slice(mask, shape, cpu).unwrap()),
        )
        .unwrap()
    }

    #[test]
    fn an_image_token_belongs_to_its_own_image_and_text_before_it_to_none() {
        assert_eq!(
            last_image_before(&[5, 9, 5, 9, 9, 5], 9),
            [0, 1, 1, 2, 3, 3]
        );
    }

    #[test]
    fn a_chunk_reaches_from_its_image_to_its_end() {
        let tokens = [5, 9, 5, 6, 8, 5, 9, 5, 0];
        assert_eq!(
            chunk_targets(&tokens, &SPECIAL),
            [0, 0, 1, 1, 1, 0, 0, 1, 0]
        );
    }

    #[test]
    fn without_a_mask_padding_images_and_the_first_token_are_no_targets() {
        let (positions, targets) = inputs(&[5, 9, 6, 8, 0, 0], None).targets(&SPECIAL).unwrap();
        assert_eq!((positions, targets), (vec![1, 2], vec![6, 8]));
    }

    #[test]
    fn the_mask_stands_over_the_target_not_over_its_predecessor() {
        let (positions, targets) = inputs(&[5, 6, 7], Some(&[1, 0, 1]))
            .targets(&SPECIAL)
            .unwrap();
        assert_eq!((positions, targets), (vec![1], vec![7]));
    }

    #[test]
    fn a_wrong_shape_is_named() {
        let cpu = &Device::Cpu;
        let tokens = Tensor::zeros((2, 3), DType::U32, cpu).unwrap();
        let pixels = Tensor::zeros((1, 1, 1, 3, 4, 4), DType::F32, cpu).unwrap();
        let message = Inputs::new(tokens, None, pixels, None)
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "pixels: expected [2, N, F, 3, H, W] f32 with N and F above 0, \
             found [1, 1, 1, 3, 4, 4] f32"
        );
    }
}
