//! How often the right one is found among others.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Pictures compared with all captions at one time.
const ROWS_AT_ONCE: usize = 256;

/// How often the right caption of a picture, and the right picture of a caption, is the nearest of
/// all, or among the five nearest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// Pairs that were compared with each other.
    pub pairs: usize,
    /// Shares of pictures whose caption is the nearest, and among the five nearest.
    pub caption_of_picture: [f64; 2],
    /// Shares of captions whose picture is the nearest, and among the five nearest.
    pub picture_of_caption: [f64; 2],
}

/// Compares each of M pictures with each of M captions, `[M, joint]` each, of which those of the same
/// `labels` belong together: captions that are the same words cannot be told apart. What is as near
/// as the right one counts as nearer, so that vectors that are all the same find nothing.
///
/// Holds 256 * M similarities at a time.
///
/// # Errors
/// Pictures, captions and labels are not as many.
pub fn retrieval(pictures: &Tensor, captions: &Tensor, labels: &[usize]) -> Result<Retrieval> {
    Ok(Retrieval {
        pairs: labels.len(),
        caption_of_picture: found(pictures, captions, labels)?,
        picture_of_caption: found(captions, pictures, labels)?,
    })
}

/// Shares of `queries` that find one of their own first, and among the first five.
fn found(queries: &Tensor, others: &Tensor, labels: &[usize]) -> Result<[f64; 2]> {
    let count = labels.len();
    if (queries.dim(0)?, others.dim(0)?) != (count, count) {
        return Err(Error::Input {
            what: "pairs",
            expected: format!("{count} pictures and captions, one a label"),
            found: format!("{} and {}", queries.dim(0)?, others.dim(0)?),
        });
    }
    let mut within = [0_usize; 2];
    for start in (0..count).step_by(ROWS_AT_ONCE) {
        let rows = ROWS_AT_ONCE.min(count - start);
        let scores = queries.narrow(0, start, rows)?.matmul(&others.t()?)?;
        for (row, scores) in scores.to_vec2::<f32>()?.iter().enumerate() {
            let own = labels[start + row];
            let right = scores
                .iter()
                .zip(labels)
                .filter(|(_, label)| **label == own);
            let best = right.map(|(score, _)| *score).fold(f32::MIN, f32::max);
            let nearer = scores
                .iter()
                .zip(labels)
                .filter(|(score, label)| **label != own && **score >= best)
                .count();
            within[0] += usize::from(nearer < 1);
            within[1] += usize::from(nearer < 5);
        }
    }
    Ok(within.map(|hits| hits as f64 / count.max(1) as f64))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn rows<const M: usize>(values: &[[f32; 2]; M]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    #[test]
    fn the_nearest_of_all_is_counted_in_both_directions() {
        let pictures = rows(&[[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]]);
        let captions = rows(&[[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]);
        let found = retrieval(&pictures, &captions, &[0, 1, 2]).unwrap();
        let third = 1.0 / 3.0;
        // The third picture is nearer to the first caption; all three are among five.
        assert!((found.caption_of_picture[0] - 2.0 * third).abs() < 1e-12);
        assert_eq!(found.caption_of_picture[1], 1.0);
        // The third caption is as far from the first picture as can be, and nearest to that.
        assert!((found.picture_of_caption[0] - 2.0 * third).abs() < 1e-12);
    }

    #[test]
    fn the_same_words_belong_to_all_their_pictures() {
        let pictures = rows(&[[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]);
        let captions = rows(&[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]);
        let found = retrieval(&pictures, &captions, &[0, 0, 1]).unwrap();
        assert_eq!(
            (found.caption_of_picture[0], found.picture_of_caption[0]),
            (1.0, 1.0)
        );
    }

    #[test]
    fn vectors_that_are_all_the_same_find_nothing() {
        let same = rows(&[[1.0, 0.0]; 8]);
        let labels: Vec<usize> = (0..8).collect();
        let found = retrieval(&same, &same, &labels).unwrap();
        assert_eq!(found.caption_of_picture, [0.0, 0.0]);
    }
}
