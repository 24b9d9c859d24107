//! The model that tells pictures which do not belong into a corpus, where a user names one.
//!
//! None is part of this program. It sees each picture as it is stored, once, and its answer is kept as the
//! picture's score `nsfw`; the threshold is asked afterwards.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use m3w_document::filter::image;
use m3w_document::image::{Limits, decode};
use m3w_document::{Image, Reason};
use m3w_model::{ImageClassifier, Picture};

/// A classifier and the class that is asked about.
pub struct Classifier {
    model: ImageClassifier,
    class: usize,
}

impl Classifier {
    /// Loads the model that the settings name, if they do. Memory is its weights in f32, and one picture for
    /// each worker.
    ///
    /// # Errors
    ///
    /// If the folder holds no such model, or the model has no such class: names those that it has.
    pub fn open(config: &image::Config) -> Result<Option<Arc<Self>>> {
        let Some(folder) = &config.nsfw_model else {
            return Ok(None);
        };
        let context = || {
            let folder = folder.display();
            format!(
                "cannot load the classifier of pictures {folder}: it must be a folder with the config.json \
                 and model.safetensors of a ViTForImageClassification"
            )
        };
        let model = ImageClassifier::load(folder).with_context(context)?;
        let label = &config.nsfw_label;
        let Some(class) = model.labels().iter().position(|name| name == label) else {
            bail!(
                "the classifier {} has no class `{label}`, but {}: set `filter.image.nsfw_label`",
                folder.display(),
                model.labels().join(", ")
            );
        };
        Ok(Some(Arc::new(Self { model, class })))
    }

    /// Puts the probability of the class into a picture's scores.
    ///
    /// # Errors
    ///
    /// `decode/damaged` or another of [`decode`]'s, if the stored bytes are no picture;
    /// `filter/not-classified` if the model gives no answer.
    pub fn score(&self, image: &mut Image) -> Result<(), Reason> {
        let limits = Limits {
            max_side_px: u32::MAX,
            max_pixels: u64::MAX,
            ..Limits::default()
        };
        let decoded = decode(&image.bytes, &limits)?;
        let picture = Picture {
            values: &decoded.pixels,
            width: decoded.width_px as usize,
            height: decoded.height_px as usize,
            channels: 3,
        };
        let answers = self.model.probabilities(&[picture]).unwrap_or_default();
        let answer = answers.first().and_then(|classes| classes.get(self.class));
        // Not a number is no answer.
        let Some(probability) = answer.filter(|probability| !probability.is_nan()) else {
            return Err(Reason::new("filter/not-classified"));
        };
        let score = f64::from(*probability);
        image.scores.insert("nsfw".to_owned(), score);
        Ok(())
    }
}
