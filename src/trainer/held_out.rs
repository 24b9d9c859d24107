//! How a model does on what it is not trained on: losses, and what it says of some pictures.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use m3w_document::{Element, Image};
use m3w_model::train::Trainer;
use m3w_model::{GenerateOptions, generate};
use m3w_shards::{Dataset, DocumentReader, LoaderConfig, Mixture, Schedule, Tokenizer};

use super::inputs;
use super::record::{EvaluationLine, SampleLine};
use crate::corpus::Corpus;
use crate::run_directory::RunDirectory;

/// Most tokens that are said of a picture.
const SAMPLE_TOKENS: usize = 24;

/// The loss on the first `batches` batches of each dataset, in an order that is always the same.
///
/// Memory is that of a loader, and of the graph of one batch.
pub(super) fn evaluate(
    trainer: &Trainer,
    datasets: &[Dataset],
    batches: usize,
    tokenizer: &Arc<Tokenizer>,
) -> Result<EvaluationLine> {
    let mut losses = BTreeMap::new();
    for dataset in datasets {
        let mut once = dataset.clone();
        once.config.epochs = Some(1);
        let one = std::slice::from_ref(&once);
        let mut mixture = Mixture::open(one, Schedule::Accumulate, tokenizer, None)
            .with_context(|| format!("cannot evaluate on `{}`", dataset.name))?;
        let (mut sum, mut count) = (0.0, 0);
        for _ in 0..batches {
            let Some(step) = mixture.next_step()? else {
                break;
            };
            for batch in &step {
                let inputs = inputs(&batch.batch)?;
                let targets = inputs.target_count(trainer.model().special_tokens())?;
                #[expect(clippy::cast_precision_loss, reason = "a number of tokens")]
                let weight = targets as f64;
                sum += trainer.loss(&inputs)? * weight;
                count += targets;
            }
        }
        ensure!(
            count > 0,
            "there is nothing in `{}` to evaluate on: give it more pages, or a larger \
             run.evaluate_share",
            dataset.name
        );
        #[expect(clippy::cast_precision_loss, reason = "a number of tokens")]
        losses.insert(dataset.name.clone(), sum / count as f64);
    }
    Ok(EvaluationLine {
        step: trainer.steps(),
        losses,
    })
}

/// Pictures that a model is asked about as it learns.
pub(super) struct Samples {
    pictures: Vec<Asked>,
    loader: LoaderConfig,
}

struct Asked {
    image: Image,
    /// Its name below the run's directory.
    name: String,
    expected: String,
}

impl Samples {
    /// The first picture with words behind it in each of the first documents of a dataset, `count`
    /// in all, copied into the run's directory.
    pub(super) fn choose(run: &RunDirectory, dataset: &Dataset, count: usize) -> Result<Self> {
        let corpus = Corpus::at(&dataset.directory);
        let mut pictures = Vec::new();
        let folder = run.path("samples");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        'all: for entry in corpus.manifest()?.documents {
            for document in DocumentReader::open(&corpus.root().join(&entry.path))? {
                if pictures.len() == count {
                    break 'all;
                }
                let document = document?;
                if !dataset.config.part.has_document(&document.id.to_string()) {
                    continue;
                }
                let elements = document.elements;
                let found = elements.windows(2).find_map(|pair| match pair {
                    [Element::Image(image), Element::Text(text)] => Some((image, text)),
                    _ => None,
                });
                let Some((image, text)) = found else {
                    continue;
                };
                let number = pictures.len() + 1;
                let name = format!("samples/{number}.{}", image.format.as_str());
                let path = run.path(&name);
                std::fs::write(&path, &image.bytes)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                pictures.push(Asked {
                    image: image.clone(),
                    name,
                    expected: text.content.clone(),
                });
            }
        }
        Ok(Self {
            pictures,
            loader: dataset.config.clone(),
        })
    }

    /// What the model says of each picture. Until it has said it, memory holds the trained weights
    /// of its language model twice.
    pub(super) fn ask(&self, trainer: &Trainer, tokenizer: &Tokenizer) -> Result<Vec<SampleLine>> {
        let model = trainer.frozen_model()?;
        let prompt = [tokenizer.eoc_id(), tokenizer.image_id()];
        let options = GenerateOptions {
            max_new_tokens: SAMPLE_TOKENS,
            ..GenerateOptions::default()
        };
        let side = self.loader.image_side_px as usize;
        let frames = self.loader.frames_per_image;
        let lines = self.pictures.iter().map(|asked| {
            let pixels = m3w_shards::picture_pixels(&asked.image.bytes, &self.loader);
            let mut pixels = pixels
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("cannot show {}", asked.name))?;
            // Further frames are empty, as in training.
            pixels.resize(frames * pixels.len(), 0.0);
            let pixels = Tensor::from_vec(pixels, &[1, frames, 3, side, side], &Device::Cpu)?;
            let mut said = Vec::new();
            generate(&model, &prompt, Some(&pixels), &options, |token| {
                said.push(token);
            })?;
            Ok(SampleLine {
                step: trainer.steps(),
                picture: asked.name.clone(),
                expected: asked.expected.clone(),
                generated: tokenizer.decode(&said)?.trim().to_owned(),
            })
        });
        lines.collect()
    }
}
