//! The in-context proof: what a colour is called is told by the page alone.
//!
//! Each page gives numbers to some colours, others on each page. First a language model reads pages of
//! words (`red17`, `blue40`, `red17`, …), from which it learns to look up the number of a colour. Then it
//! is frozen, and the rest learns to see on pages of pictures with such words behind them, gates at 0.
//! Asked are numbers that never stood behind a picture, of drawings that were never shown: the picture
//! alone tells the colour, and the examples before it alone tell the number (as the made-up words of
//! Tsimpoukelli et al. 2021, arXiv 2106.13884, section 4.3).

use std::fmt::{self, Write as _};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use m3w::trained::TrainedModel;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::archive::Archive;
use super::program::Program;
use super::scenes::{COLOUR_COUNT, Scene, colour_word};
use super::scoring::{Question, likeliest, scores, text_scores};

/// Many, so that what stands on the page says more than how often a number comes; of two digits.
const FIRST_NUMBER: usize = 10;
const NUMBERS: usize = 64;
/// The last so many stand on pages of words alone.
const NEVER_SHOWN: usize = 16;
/// Colours on a page that is asked about, and the fewest and most on others.
const ASKED: usize = 2;
const COLOURS: [usize; 2] = [2, 3];
/// Statements on a page of words, and how often one is that before it again: what is near is learned to
/// be looked up first, and then what is further away.
const STATEMENTS: usize = 12;
const AGAIN: f64 = 0.5;
/// Pictures on a page that has some.
const PICTURES: usize = 5;
/// One scene in so many is held back.
const HELD_BACK_EVERY: usize = 5;
/// Examples before a question.
const SHOTS: [usize; 5] = [0, 1, 2, 4, 8];

/// How large the proof is.
pub(crate) struct Size {
    /// Pages of words, and pages with pictures.
    pub(crate) words: usize,
    pub(crate) pages: usize,
    pub(crate) language_steps: usize,
    pub(crate) steps: usize,
    pub(crate) questions: usize,
}

/// What came out: shares of colours and numbers told rightly.
#[derive(Debug)]
pub(crate) struct Scores {
    pub(crate) questions: usize,
    /// Of colours in words, behind four examples, by the language model.
    pub(crate) words: Share,
    /// By examples before the question: the number of them and the share.
    pub(crate) by_shots: Vec<(usize, Share)>,
    /// The share that says the other number where the two have changed places in the four examples.
    pub(crate) exchanged: Share,
    /// Behind four examples, by the language model, which sees no picture.
    pub(crate) blind: Share,
}

/// A share of questions, from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// Where the page's colours and numbers are to be chosen from.
    pub(crate) of_page: f64,
    /// Where all colours and numbers are.
    pub(crate) of_all: f64,
}

impl Scores {
    /// Whether the model learns from the page.
    pub(crate) fn succeed(&self) -> bool {
        let behind = |count| {
            let mut shares = self.by_shots.iter();
            shares.find(|(shots, _)| *shots == count)
        };
        // Who sees the colour and says any number of the page is right in 0.5 among those of the page,
        // exchanged or not; chance among all is 0.003.
        let is_looked_up = |share: &Share| share.of_page >= 0.6 && share.of_all >= 0.3;
        behind(0).is_some_and(|(_, share)| share.of_all <= 0.05)
            && behind(4).is_some_and(|(_, share)| is_looked_up(share))
            && is_looked_up(&self.exchanged)
    }
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let questions = self.questions;
        writeln!(
            f,
            "{questions} pages of numbers that never stood behind a picture; chosen among the page's \
             {ASKED} colours with its {ASKED} numbers, and among all {COLOUR_COUNT} with all {NUMBERS}"
        )?;
        let mut line = |share: Share, what: &str| {
            writeln!(f, "{:.3} {:.3} {what}", share.of_page, share.of_all)
        };
        line(
            self.words,
            "numbers told rightly of colours in words, behind 4 examples",
        )?;
        for (shots, share) in &self.by_shots {
            line(
                *share,
                &format!("told rightly of pictures, behind {shots} examples"),
            )?;
        }
        line(
            self.exchanged,
            "say the other number where the two have changed places in the 4 examples",
        )?;
        line(
            self.blind,
            "told rightly by the language model, which sees nothing, behind 4 examples",
        )
    }
}

/// A colour and the number that a page gives it, as counted from [`FIRST_NUMBER`].
#[derive(Debug, Clone, Copy)]
struct Binding {
    colour: usize,
    number: usize,
}

impl Binding {
    /// `count` colours with a number each, of those in `numbers`.
    fn draw(count: usize, numbers: std::ops::Range<usize>, random: &mut ChaCha8Rng) -> Vec<Self> {
        let mut colours: Vec<usize> = (0..COLOUR_COUNT).collect();
        let mut numbers: Vec<usize> = numbers.collect();
        colours.shuffle(random);
        numbers.shuffle(random);
        let pairs = colours.into_iter().zip(numbers).take(count);
        pairs
            .map(|(colour, number)| Self { colour, number })
            .collect()
    }

    /// In words: `red17`, which a tokenizer parts into the two.
    fn statement(self) -> String {
        format!("{}{}", colour_word(self.colour), FIRST_NUMBER + self.number)
    }

    /// Its place among all that there could be.
    fn place(self) -> usize {
        self.colour * NUMBERS + self.number
    }
}

/// Drawings of any colour.
struct Drawings(Vec<Scene>);

impl Drawings {
    fn draw(&self, colour: usize, random: &mut ChaCha8Rng) -> Result<Vec<u8>> {
        let scenes = self.0.iter().filter(|scene| scene.colour() == colour);
        let scenes: Vec<&Scene> = scenes.collect();
        let scene = scenes.choose(random);
        scene.context("no scene of a colour")?.draw(random)
    }
}

/// Writes pages, builds, trains and asks.
pub(crate) fn prove(program: &Program, out: &Path, seed: u64, size: &Size) -> Result<Scores> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (shown, held_back) = Scene::split(seed, HELD_BACK_EVERY);
    let (shown, held_back) = (Drawings(shown), Drawings(held_back));
    let settings = "filter.image.min_side_px=32 filter.text.min_words=5 images.encoding=png \
                    shards.images_per_sequence=5 vocabulary_size=500";
    write_words(&out.join("words.warc"), size.words, &shown, &mut random)?;
    let build = "build --offline --quiet --warc words.warc --out words";
    program.run(out, build, &format!("{settings} shards.sequence_length=42"))?;
    write_pages(&out.join("pages.warc"), size.pages, &shown, &mut random)?;
    let build = "build --offline --quiet --warc pages.warc --out pages \
                 --tokenizer words/tokenizer.json";
    program.run(out, build, &format!("{settings} shards.sequence_length=28"))?;
    let language = include_str!("../../configs/shapes-numbers-language.toml");
    program.train(out, "language", language, size.language_steps, "")?;
    let config = include_str!("../../configs/shapes-numbers.toml");
    program.train(out, "run", config, size.steps, "")?;
    ask(out, size.questions, &held_back, &mut random)
}

/// Pages that begin with a picture, and then are words.
fn write_words(
    path: &Path,
    pages: usize,
    drawings: &Drawings,
    random: &mut ChaCha8Rng,
) -> Result<()> {
    let mut archive = Archive::create(path)?;
    for page in 0..pages {
        let count = random.random_range(COLOURS[0]..=COLOURS[1]);
        let bindings = Binding::draw(count, 0..NUMBERS, random);
        let mut html =
            format!("<!doctype html><title>Sheet {page}</title><main><img src=0.png><ul>");
        let mut which = 0;
        for number in 0..STATEMENTS {
            if number == 0 || !random.random_bool(AGAIN) {
                which = random.random_range(0..count);
            }
            let binding = bindings[which];
            let _ = write!(html, "<li>{}</li>", binding.statement());
        }
        html.push_str("</ul></main>");
        let url = format!("http://words.test/{page}/");
        archive.add(&url, "text/html; charset=utf-8", html.as_bytes())?;
        let picture = drawings.draw(random.random_range(0..COLOUR_COUNT), random)?;
        archive.add(&format!("{url}0.png"), "image/png", &picture)?;
    }
    archive.finish()
}

/// Pages of pictures with their numbers; what some of the colours are is said in words before.
fn write_pages(
    path: &Path,
    pages: usize,
    drawings: &Drawings,
    random: &mut ChaCha8Rng,
) -> Result<()> {
    let mut archive = Archive::create(path)?;
    for page in 0..pages {
        let count = random.random_range(COLOURS[0]..=COLOURS[1]);
        let bindings = Binding::draw(count, 0..NUMBERS - NEVER_SHOWN, random);
        let url = format!("http://pages.test/{page}/");
        let mut html = format!("<!doctype html><title>Sheet {page}</title><main>");
        let mut pictures = Vec::new();
        for number in 0..PICTURES {
            let binding = bindings[random.random_range(0..count)];
            let words = binding.statement();
            let _ = write!(
                html,
                "<figure><img src={number}.png><figcaption>{words}</figcaption></figure>"
            );
            let picture = drawings.draw(binding.colour, random)?;
            pictures.push((format!("{url}{number}.png"), picture));
        }
        html.push_str("</main>");
        archive.add(&url, "text/html; charset=utf-8", html.as_bytes())?;
        for (url, picture) in pictures {
            archive.add(&url, "image/png", &picture)?;
        }
    }
    archive.finish()
}

/// A page that is asked about.
struct Asked {
    bindings: Vec<Binding>,
    /// Which is asked about.
    which: usize,
    /// With whose number its own changes places.
    other: usize,
}

impl Asked {
    /// The last examples are of all bindings once, and so are those before; the one that is asked about
    /// is among however many are shown.
    fn draw(random: &mut ChaCha8Rng) -> Self {
        let numbers = NUMBERS - NEVER_SHOWN..NUMBERS;
        let bindings = Binding::draw(ASKED, numbers, random);
        let which = random.random_range(0..ASKED);
        let other = (which + random.random_range(1..ASKED)) % ASKED;
        Self {
            bindings,
            which,
            other,
        }
    }

    /// `shots` examples in any order: that which is asked about, and others, each as often.
    fn examples(&self, shots: usize, random: &mut ChaCha8Rng) -> Vec<Binding> {
        let own = self.bindings[self.which];
        let rest = (0..ASKED).filter(|index| *index != self.which);
        let mut others: Vec<Binding> = rest.map(|index| self.bindings[index]).collect();
        others.shuffle(random);
        let all = std::iter::once(own).chain(others);
        let all: Vec<Binding> = all.collect();
        let mut examples: Vec<Binding> = all.iter().copied().cycle().take(shots).collect();
        examples.shuffle(random);
        examples
    }

    /// What one could say of a page, right or not: each of its colours with each of its numbers.
    fn possible(&self) -> impl Iterator<Item = usize> {
        let colours = self.bindings.iter().map(|binding| binding.colour);
        colours.flat_map(|colour| {
            let numbers = self.bindings.iter().map(|binding| binding.number);
            numbers.map(move |number| Binding { colour, number }.place())
        })
    }

    /// The same with two numbers exchanged.
    fn exchanged(&self, binding: Binding) -> Binding {
        let (own, other) = (self.bindings[self.which], self.bindings[self.other]);
        let number = match binding.number {
            number if number == own.number => other.number,
            number if number == other.number => own.number,
            number => number,
        };
        Binding { number, ..binding }
    }
}

/// Colours of the answers to choose from.
#[derive(Clone, Copy)]
enum Colours {
    /// That which is asked about: words tell it.
    Own,
    /// Any: a picture has to.
    Any,
}

impl Colours {
    fn has(self, asked: &Asked, place: usize) -> bool {
        match self {
            Self::Own => place / NUMBERS == asked.bindings[asked.which].colour,
            Self::Any => true,
        }
    }
}

fn ask(out: &Path, count: usize, drawings: &Drawings, random: &mut ChaCha8Rng) -> Result<Scores> {
    let language = TrainedModel::load(&out.join("language"))?;
    let trained = TrainedModel::load(&out.join("run"))?;
    let all = (0..COLOUR_COUNT)
        .flat_map(|colour| (0..NUMBERS).map(move |number| Binding { colour, number }.statement()));
    let words: Vec<String> = all.collect();
    for words in &words {
        let tokens = trained.tokenizer.encode_text(words)?.len();
        ensure!(tokens == 2, "`{words}` is {tokens} tokens");
    }
    let asked: Vec<Asked> = (0..count).map(|_| Asked::draw(random)).collect();
    let share = |scores: &[Vec<f32>], answer: &dyn Fn(&Asked) -> Binding, colours: Colours| {
        let right = |is_right: &dyn Fn(&Asked, &[f32]) -> bool| {
            let pairs = asked.iter().zip(scores);
            let right = pairs.filter(|(asked, scores)| is_right(asked, scores));
            right.count() as f64 / count as f64
        };
        Share {
            of_page: right(&|asked, scores| {
                let among = asked.possible().filter(|place| colours.has(asked, *place));
                likeliest(scores, among) == answer(asked).place()
            }),
            of_all: right(&|asked, scores| {
                let among = (0..scores.len()).filter(|place| colours.has(asked, *place));
                likeliest(scores, among) == answer(asked).place()
            }),
        }
    };
    let own = |asked: &Asked| asked.bindings[asked.which];
    let exchanged = |asked: &Asked| asked.exchanged(asked.bindings[asked.which]);
    let texts = asked.iter().map(|asked| {
        let examples = asked.examples(4, random);
        let lines = examples.iter().map(|example| example.statement() + "\n");
        lines.collect::<String>()
    });
    let texts: Vec<String> = texts.collect();
    let words_share = share(&text_scores(&language, &texts, &words)?, &own, Colours::Own);
    let mut questions = |shots: usize, is_exchanged: bool| -> Result<Vec<Question>> {
        let questions = asked.iter().map(|asked| {
            let examples = asked.examples(shots, random);
            let shown = examples.into_iter().map(|example| {
                let said = match is_exchanged {
                    true => asked.exchanged(example),
                    false => example,
                };
                Ok((drawings.draw(example.colour, random)?, said.statement()))
            });
            let shown = shown.collect::<Result<Vec<_>>>()?;
            let colour = asked.bindings[asked.which].colour;
            Ok(Question::behind(shown, drawings.draw(colour, random)?))
        });
        questions.collect()
    };
    let mut by_shots = Vec::new();
    for shots in SHOTS {
        let questions = questions(shots, false)?;
        by_shots.push((
            shots,
            share(&scores(&trained, &questions, &words)?, &own, Colours::Any),
        ));
    }
    let four = questions(4, false)?;
    let after_exchange = questions(4, true)?;
    Ok(Scores {
        questions: count,
        words: words_share,
        by_shots,
        exchanged: share(
            &scores(&trained, &after_exchange, &words)?,
            &exchanged,
            Colours::Any,
        ),
        blind: share(&scores(&language, &four, &words)?, &own, Colours::Any),
    })
}
