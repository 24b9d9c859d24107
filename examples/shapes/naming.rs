//! The learning proof: who has seen red squares and blue discs names a red disc.
//!
//! Pages and pairs show four in five of all scenes. First a language model learns their words while
//! the gates are closed; then it is frozen, and vision encoder, resampler and gated blocks learn
//! from the same rows, gates at 0. Scenes that were held back are then told apart by ranking the
//! words of all scenes behind a drawing.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use m3w::trained::TrainedModel;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::archive::Archive;
use super::program::Program;
use super::scenes::Scene;
use super::scoring::{Question, choices};

/// One scene in so many is held back.
const HELD_BACK_EVERY: usize = 5;
/// What pages say besides. Drawings alone make colours, shapes, numbers and places interchangeable for a
/// language model, and what it writes for one as good as the same as for another; a frozen one could
/// not be led to say one rather than another.
const FACTS: [&str; 15] = [
    "The colour of bricks and of poppies is red.",
    "The colour of grass and of leaves is green.",
    "The colour of a clear sky is blue.",
    "The colour of lemons is yellow.",
    "The colour of coal is black.",
    "A figure of four equal sides is called a square, and several squares.",
    "A round and flat figure is called a disc, and several discs.",
    "A figure of no more corners than needed is called a triangle, and several triangles.",
    "A pair of bars that meet is called a cross, and several crosses.",
    "The number of noses in a face is one.",
    "The number of wheels of a bicycle is two.",
    "The number of wheels of a tricycle is three.",
    "The side where the heart beats is the left.",
    "The side of the hand that most people write with is the right.",
    "As far from either end lies the middle.",
];
/// Of these, how many a page has.
const FACTS_PER_PAGE: usize = 3;
/// And how many drawings.
const DRAWINGS_PER_PAGE: usize = 3;

/// How large a proof is.
pub(crate) struct Size {
    pub(crate) pairs: usize,
    pub(crate) pages: usize,
    pub(crate) language_steps: usize,
    pub(crate) steps: usize,
    /// Drawings of each scene that was held back.
    pub(crate) drawings: usize,
}

/// What came out; shares are from 0 to 1.
#[derive(Debug)]
pub(crate) struct Scores {
    /// Questions asked, and words to choose among.
    pub(crate) questions: usize,
    pub(crate) candidates: usize,
    /// Scenes that were held back, named rightly.
    pub(crate) held_back: f64,
    /// Of two scenes each is named rightly where its drawing takes the other's place in the same
    /// prompt.
    pub(crate) swapped: f64,
    /// Behind another drawing and its words the second is named, and where the two drawings change
    /// places, but not the words, the other: one then stands above words that are not its own.
    pub(crate) in_one_row: f64,
    /// The same by the language model alone.
    pub(crate) text_only: f64,
    /// Mean opening of the gates at the first and after the last step.
    pub(crate) gates: [f64; 2],
}

/// Writes pages and pairs, builds, trains and asks. A recipe is the name of a run, and settings over
/// those of the proof.
pub(crate) fn prove(
    program: &Program,
    out: &Path,
    seed: u64,
    size: &Size,
    (name, settings): (&str, &str),
) -> Result<Scores> {
    prepare(program, out, seed, size)?;
    let config = include_str!("../../configs/shapes.toml");
    program.train(out, name, config, size.steps, settings)?;
    let (_, held_back) = Scene::split(seed, HELD_BACK_EVERY);
    ask(out, name, &held_back, size, seed)
}

/// Pages, pairs, and a language model that has read them.
fn prepare(program: &Program, out: &Path, seed: u64, size: &Size) -> Result<()> {
    let (shown, _) = Scene::split(seed, HELD_BACK_EVERY);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let settings = "filter.image.min_side_px=32 filter.text.min_words=5 images.encoding=png \
                    shards.images_per_sequence=3 vocabulary_size=700";
    write_pages(&out.join("pages.warc"), &shown, size.pages, &mut random)?;
    let build = "build --offline --quiet --warc pages.warc --out pages";
    program.run(out, build, &format!("{settings} shards.sequence_length=80"))?;
    write_pairs(&out.join("drawings"), &shown, size.pairs, &mut random)?;
    let build = "pairs --kind pairs --quiet --input drawings --out pairs \
                 --tokenizer pages/tokenizer.json";
    program.run(out, build, &format!("{settings} shards.sequence_length=16"))?;
    let language = include_str!("../../configs/shapes-language.toml");
    program.train(out, "language", language, size.language_steps, "")
}

impl Scores {
    /// Whether the model sees.
    pub(crate) fn succeed(&self) -> bool {
        self.held_back >= 0.9
            && self.swapped >= 0.9
            && self.text_only <= 0.05
            && self.gates[0] == 0.0
            && self.gates[1] > 0.0
    }
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            questions,
            candidates,
            gates: [first, last],
            ..
        } = self;
        writeln!(
            f,
            "{questions} drawings of scenes never shown, {candidates} scenes to choose from"
        )?;
        for (what, share) in [
            ("named rightly", self.held_back),
            ("follows a drawing that takes another's place", self.swapped),
            ("and in one row, above the other's words", self.in_one_row),
            ("by the language model alone", self.text_only),
        ] {
            writeln!(f, "{share:.3} {what}")?;
        }
        writeln!(f, "{first:.3} -> {last:.3} mean opening of the gates")
    }
}

fn write_pages(path: &Path, scenes: &[Scene], pages: usize, random: &mut ChaCha8Rng) -> Result<()> {
    let mut archive = Archive::create(path)?;
    for page in 0..pages {
        let facts = FACTS.sample(random, FACTS_PER_PAGE);
        let facts = facts.copied().collect::<Vec<_>>().join(" ");
        let mut html = format!("<!doctype html><title>Sheet {page}</title><main><p>{facts}</p>");
        let mut pictures = Vec::new();
        for number in 0..DRAWINGS_PER_PAGE {
            let scene = scenes[random.random_range(0..scenes.len())];
            let name = format!("http://shapes.test/{page}/{number}.png");
            let _ = write!(
                html,
                "<figure><img src={number}.png><figcaption>{}</figcaption></figure>",
                scene.words()
            );
            pictures.push((name, scene.draw(random)?));
        }
        html.push_str("</main>");
        let url = format!("http://shapes.test/{page}/");
        archive.add(&url, "text/html; charset=utf-8", html.as_bytes())?;
        for (url, picture) in pictures {
            archive.add(&url, "image/png", &picture)?;
        }
    }
    archive.finish()
}

fn write_pairs(
    folder: &Path,
    scenes: &[Scene],
    pairs: usize,
    random: &mut ChaCha8Rng,
) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for pair in 0..pairs {
        let scene = scenes[random.random_range(0..scenes.len())];
        fs::write(folder.join(format!("{pair:05}.png")), scene.draw(random)?)?;
        fs::write(folder.join(format!("{pair:05}.txt")), scene.words())?;
    }
    Ok(())
}

fn ask(out: &Path, name: &str, held_back: &[Scene], size: &Size, seed: u64) -> Result<Scores> {
    // Other drawings than those that were learned from.
    let random = &mut ChaCha8Rng::seed_from_u64(!seed);
    let scenes = Scene::all();
    let words: Vec<String> = scenes.iter().map(Scene::words).collect();
    let place = |scene: &Scene| scenes.iter().position(|other| other == scene);
    let (mut alone, mut instead) = (Vec::new(), Vec::new());
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut answers = Vec::new();
    for _ in 0..size.drawings {
        for (index, scene) in held_back.iter().enumerate() {
            // Any other of those held back.
            let other = index + random.random_range(1..held_back.len());
            let other = &held_back[other % held_back.len()];
            let (drawing, of_other) = (scene.draw(random)?, other.draw(random)?);
            let shown = |drawing: &Vec<u8>| vec![(drawing.clone(), other.words())];
            answers.push([
                place(scene).context("a scene")?,
                place(other).context("a scene")?,
            ]);
            alone.push(Question::behind(Vec::new(), drawing.clone()));
            instead.push(Question::behind(Vec::new(), of_other.clone()));
            first.push(Question::behind(shown(&of_other), drawing.clone()));
            second.push(Question::behind(shown(&drawing), of_other));
        }
    }
    let share = |rights: Vec<bool>| {
        let count = rights.len();
        rights.into_iter().filter(|is_right| *is_right).count() as f64 / count as f64
    };
    let trained = TrainedModel::load(&out.join(name))?;
    let language = TrainedModel::load(&out.join("language"))?;
    let rights =
        |model: &TrainedModel, questions: &[Question], which: usize| -> Result<Vec<bool>> {
            let chosen = choices(model, questions, &words)?;
            let pairs = chosen.iter().zip(&answers);
            Ok(pairs
                .map(|(chosen, answer)| *chosen == answer[which])
                .collect())
        };
    let both = |one: &[bool], other: Vec<bool>| {
        let both = one.iter().zip(other);
        share(both.map(|(one, other)| *one && other).collect())
    };
    let named = rights(&trained, &alone, 0)?;
    let swapped = both(&named, rights(&trained, &instead, 1)?);
    let in_one_row = both(&rights(&trained, &first, 0)?, rights(&trained, &second, 1)?);
    Ok(Scores {
        questions: answers.len(),
        candidates: words.len(),
        held_back: share(named),
        swapped,
        in_one_row,
        text_only: share(rights(&language, &alone, 0)?),
        gates: gates(&out.join(name).join("metrics.jsonl"))?,
    })
}

fn gates(path: &Path) -> Result<[f64; 2]> {
    let text = fs::read_to_string(path)?;
    let gate = |line: Option<&str>| -> Result<f64> {
        let line: serde_json::Value = serde_json::from_str(line.context("no steps")?)?;
        line["mean_gate"].as_f64().context("no gate")
    };
    Ok([gate(text.lines().next())?, gate(text.lines().last())?])
}
