//! Settings of a loader, and where it stands.

use serde::{Deserialize, Serialize};

use crate::{CLIP_DEVIATION, CLIP_MEAN, ColourJitter, Error, Fit, FreshWindows, Part};

/// How rows become batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoaderConfig {
    /// B: rows in a batch.
    pub batch_size: usize,
    /// H and W: side of the square pictures. 320 in Flamingo (arXiv 2204.14198, appendix B.1.1).
    pub image_side_px: u32,
    /// How a picture of any shape becomes a square.
    pub fit: Fit,
    /// Mean by channel, of values from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation by channel.
    pub deviation: [f32; 3],
    /// F: most frames of an image; those beyond are left out.
    pub frames_per_image: usize,
    /// Whether half of the rows, drawn by the seed, have their pictures mirrored.
    pub horizontal_flip: bool,
    /// How far the colours of a picture may be changed.
    pub colour_jitter: ColourJitter,
    /// Probability that the text after a row's first image begins with a space, drawn anew each
    /// epoch: 1/2 for pairs in Flamingo (appendix B.1.2), as prompts come both ways. `None` leaves
    /// the rows as they were packed.
    pub space_prefix_probability: Option<f64>,
    /// Probability that the text of a row attends to the next image instead of the previous one;
    /// 1/2 in Flamingo (appendix A.3.2), drawn anew each epoch.
    pub next_image_probability: f64,
    /// Windows to draw from the corpus's documents, anew each epoch; `None` takes the windows that
    /// were packed.
    pub fresh_windows: Option<FreshWindows>,
    /// Whether shards are mapped into memory instead of read: rows that are not decoded take a
    /// fifth of the time. The system ends a process without a word that touches a part of a mapped file
    /// which was cut since or which the disk cannot read, so it is for local disks alone.
    pub memory_map: bool,
    /// Rows held for shuffling, encoded; whole row groups, so it is a lower bound. 0 keeps the
    /// corpus's order.
    pub shuffle_buffer: usize,
    /// Seed of the order and of all draws.
    pub seed: u64,
    /// Threads that decode pictures; 0 takes one per core.
    pub threads: usize,
    /// Batches made ahead of time.
    pub prefetch_batches: usize,
    /// Times to go through the corpus; `None` never ends. Batches run on over the end of an epoch,
    /// only the very last may be smaller.
    pub epochs: Option<u64>,
    /// The part of each batch that this process takes. It belongs to a launch, not to a run, so
    /// it is in no file.
    #[serde(skip)]
    pub share: Share,
    /// The documents it takes rows of; what is held out belongs to a run and all of its datasets, so
    /// it is in no loader's file.
    #[serde(skip)]
    pub part: Part,
}

/// Which of several processes that train together this is.
///
/// Together they take the rows that one process with `of` times the batch size would take, in that
/// order: process 0 the first [`LoaderConfig::batch_size`] of each `of` times as many, and so on.
/// A state is of all of them, so a run may go on with another number of processes. All read the
/// encoded rows, each decodes its own. Where there are several, rows at the end of the last epoch
/// that do not fill a batch of each are left out, so that all end after the same step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// This process, from 0.
    pub rank: usize,
    /// All processes.
    pub of: usize,
}

impl Default for Share {
    fn default() -> Self {
        Self { rank: 0, of: 1 }
    }
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            batch_size: 8,
            image_side_px: 320,
            fit: Fit::Pad,
            mean: CLIP_MEAN,
            deviation: CLIP_DEVIATION,
            frames_per_image: 1,
            horizontal_flip: false,
            colour_jitter: ColourJitter::default(),
            space_prefix_probability: None,
            next_image_probability: 0.5,
            fresh_windows: None,
            memory_map: false,
            shuffle_buffer: 1000,
            seed: 0,
            threads: 0,
            prefetch_batches: 2,
            epochs: None,
            share: Share::default(),
            part: Part::Whole,
        }
    }
}

impl LoaderConfig {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let refuse = |key, value: String, requirement| {
            Err(Error::Config {
                key,
                value,
                requirement,
            })
        };
        if self.batch_size == 0 {
            return refuse("batch_size", "0".to_owned(), "it must be at least 1");
        }
        if !(1..=4096).contains(&self.image_side_px) {
            return refuse(
                "image_side_px",
                self.image_side_px.to_string(),
                "it must be 1 to 4096",
            );
        }
        if !(1..=255).contains(&self.frames_per_image) {
            return refuse(
                "frames_per_image",
                self.frames_per_image.to_string(),
                "it must be 1 to 255",
            );
        }
        for (key, value) in [
            ("next_image_probability", self.next_image_probability),
            (
                "space_prefix_probability",
                self.space_prefix_probability.unwrap_or_default(),
            ),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return refuse(key, value.to_string(), "it must be 0 to 1");
            }
        }
        if let Some((key, value)) = self.colour_jitter.outside() {
            return refuse(key, value.to_string(), "it must be 0 to 1");
        }
        if self.share.rank >= self.share.of {
            return refuse(
                "share.rank",
                self.share.rank.to_string(),
                "it must be below the number of processes",
            );
        }
        if !self.mean.iter().all(|value| value.is_finite()) {
            return refuse(
                "mean",
                format!("{:?}", self.mean),
                "each channel's must be a number",
            );
        }
        if !self
            .deviation
            .iter()
            .all(|value| value.is_finite() && *value > 0.0)
        {
            return refuse(
                "deviation",
                format!("{:?}", self.deviation),
                "each channel's must be above 0",
            );
        }
        Ok(())
    }
}

/// Where a loader stands: enough to go on with the very next row, without reading those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderState {
    /// Times the corpus has been gone through.
    pub epoch: u64,
    /// Rows of the current epoch that have been handed out, to all processes.
    pub rows: u64,
    /// Rows in the corpus, to notice that it is another one.
    pub corpus_rows: u64,
    /// The loader's seed, for the same reason.
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_or_deviation_that_makes_every_pixel_nan_is_refused() {
        assert!(LoaderConfig::default().validate().is_ok());
        for value in [f32::NAN, f32::INFINITY] {
            let mut config = LoaderConfig::default();
            config.mean[1] = value;
            assert!(config.validate().is_err(), "mean {value}");
            let mut config = LoaderConfig::default();
            config.deviation[1] = value;
            assert!(config.validate().is_err(), "deviation {value}");
        }
    }
}
