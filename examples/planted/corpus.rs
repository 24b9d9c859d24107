//! The corpus: what is planted in the document of which number, and its files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use m3w::config::BuildConfig;
use m3w::corpus::{Corpus, Run, file_entry};
use m3w::document::{Document, DocumentId, Element, Image, Sha256, Tally, Text};
use m3w::journal::Outcome;
use m3w::outcomes::OutcomeLine;
use m3w::shards::{DocumentWriter, Manifest, ShardInfo, write_atomically};
use url::Url;

use super::pictures::{Change, Numbers, picture, pictures};

/// Documents in a shard.
const SHARD: usize = 1000;
/// Documents with one frequent picture.
pub(crate) const GROUP: u64 = 12;
/// Words there are.
const VOCABULARY: usize = 20_000;

/// What is planted in a document. Documents go round in twenties.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Plant {
    /// Nothing.
    Plain,
    /// A text that is planted again in the next.
    Original,
    /// The text of the one before.
    SameText,
    /// The text of the one before, one word in twenty another.
    NearText,
    /// A text of which one word in five is another: not the same.
    Related,
    /// Its second picture is its first, changed.
    Twice(Change),
    /// Its first picture is a protected one, changed.
    Protected(Change),
    /// Its first picture is one of twelve documents, in six of them changed.
    Frequent(Change),
    /// A question that is protected.
    Question,
}

/// What is planted in the document of that number.
pub(crate) fn plant(number: u64) -> Plant {
    let changes = [Change::Encoded, Change::Resized, Change::Cropped];
    let round = number / 20;
    match number % 20 {
        5 if round.is_multiple_of(10) => Plant::Question,
        10 | 12 => Plant::Original,
        11 => Plant::SameText,
        13 => Plant::NearText,
        14 => Plant::Related,
        kind @ 15..=17 => Plant::Twice(changes[kind as usize - 15]),
        18 => Plant::Protected(changes[round as usize % 3]),
        19 if round % GROUP < GROUP / 2 => Plant::Frequent(Change::None),
        19 => Plant::Frequent(changes[round as usize % 3]),
        _ => Plant::Plain,
    }
}

/// The URL of the document of that number: a host for each hundred.
pub(crate) fn url(number: u64) -> Result<Url> {
    Ok(Url::parse(&format!(
        "https://host{}.test/{number}",
        number / 100
    ))?)
}

/// The id of the document of that number.
pub(crate) fn id(number: u64) -> Result<String> {
    Ok(DocumentId::of(&url(number)?).to_string())
}

/// The question that the document of that number has.
fn question(number: u64) -> String {
    let mut numbers = Numbers(number ^ 0x5155_4553);
    let words: Vec<String> = (0..11).map(|_| word(numbers.below(VOCABULARY))).collect();
    words.join(" ")
}

fn word(number: usize) -> String {
    const SYLLABLES: [&str; 30] = [
        "ka", "to", "mi", "re", "su", "na", "lo", "pe", "vi", "du", "sha", "gri", "bo", "ten",
        "al", "or", "ix", "ul", "em", "wa", "zo", "che", "fy", "qua", "hin", "jar", "sto", "ble",
        "cro", "dwe",
    ];
    let part = |number: usize| SYLLABLES[number % SYLLABLES.len()];
    format!(
        "{}{}{}",
        part(number),
        part(number / 30),
        part(number / 900)
    )
}

/// Words as frequent as those of a language: the n-th about 1/n times as often as the first.
fn words(numbers: &mut Numbers, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| {
            let rank = (VOCABULARY as f32).powf(numbers.share());
            word(rank as usize)
        })
        .collect()
}

/// The words of the document of that number.
fn text(number: u64) -> Vec<String> {
    let fresh = |number: u64| {
        let mut numbers = Numbers(number.wrapping_mul(0x0010_0001) ^ 0x7465_7874);
        let count = 60 + numbers.below(400);
        words(&mut numbers, count)
    };
    let changed = |of: u64, every: usize| {
        let mut text = fresh(of);
        let mut numbers = Numbers(number ^ 0x6368_616e);
        let count = text.len() / every;
        let mut places: Vec<usize> = (0..text.len()).collect();
        for index in 0..count {
            let other = index + numbers.below(places.len() - index);
            places.swap(index, other);
            text[places[index]] = format!("{}x", word(numbers.below(VOCABULARY)));
        }
        text
    };
    match plant(number) {
        Plant::SameText => fresh(number - 1),
        Plant::NearText => changed(number - 1, 20),
        Plant::Related => changed(number - 14, 5),
        Plant::Question => {
            let mut text = fresh(number);
            text.insert(30, question(number));
            text
        }
        _ => fresh(number),
    }
}

/// Seeds of a document's pictures, what is done to them, and the draw of the change.
fn plan(number: u64) -> Result<Vec<(u64, Change, u64, Url)>> {
    let own = number << 8;
    let group = (number / 20 / GROUP) << 8 | 2;
    let seeds = match plant(number) {
        Plant::Twice(change) => vec![(own, Change::None), (own, change)],
        Plant::Protected(change) => vec![(own | 1, change), (own, Change::None)],
        Plant::Frequent(change) => vec![(group, change), (own, Change::None)],
        _ => vec![(own, Change::None)],
    };
    let page = url(number)?;
    (0_u64..)
        .zip(seeds)
        .map(|(index, (seed, change))| {
            Ok((
                seed,
                change,
                own | index,
                page.join(&format!("{number}-{index}.jpg"))?,
            ))
        })
        .collect()
}

fn document(number: u64, images: Vec<Image>) -> Result<Document<Image>> {
    let mut document = Document::new(url(number)?);
    // Copies are from later days, or from earlier ones.
    document.fetched_at = Some(86_400 * (20_000 + i64::try_from(number % 7)?));
    document.language = Some("en".to_owned());
    let words = text(number);
    let (before, after) = words.split_at(words.len() / 2);
    document
        .elements
        .push(Element::Text(Text::paragraph(before.join(" "))));
    document
        .elements
        .extend(images.into_iter().map(Element::Image));
    document
        .elements
        .push(Element::Text(Text::paragraph(after.join(" "))));
    Ok(document)
}

/// Writes `folder/corpus` of that many documents, and `folder/protect`.
pub(crate) fn make(folder: &Path, count: u64) -> Result<()> {
    let numbers: Vec<u64> = (0..count).collect();
    write(folder, &numbers, SHARD)
}

/// The same of the documents of these numbers, in their order, so many to a shard.
pub(crate) fn write(folder: &Path, numbers: &[u64], shard: usize) -> Result<()> {
    let config = BuildConfig {
        inputs_per_shard: shard,
        ..BuildConfig::default()
    };
    let info = ShardInfo {
        config: config.shards.clone(),
        seed: 0,
    };
    let (root, protect) = (folder.join("corpus"), folder.join("protect"));
    for folder in [&root.join("documents"), &root.join("outcomes"), &protect] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut manifest = Manifest::new(Sha256::of(b"planted"), 0);
    manifest.run = serde_json::to_value(&Run {
        input_sha256: Sha256::of(b"planted").to_string(),
        tokenizer_sha256: None,
        config: config.clone(),
        lists_sha256: None,
    })?;
    let mut questions = Vec::new();
    let mut input = 0;
    for (part, numbers) in numbers.chunks(shard).enumerate() {
        let plans = numbers.iter().map(|number| plan(*number));
        let plans = plans.collect::<Result<Vec<_>>>()?;
        let mut made = pictures(&plans.concat())?.into_iter();
        let name = Corpus::documents_name(part);
        let mut writer = DocumentWriter::create(&root.join(name), &info)?;
        let mut lines = Vec::new();
        let mut tally = Tally::default();
        for (number, plan) in numbers.iter().copied().zip(&plans) {
            let images = made.by_ref().take(plan.len()).collect();
            let document = document(number, images)?;
            writer.write(&document)?;
            let outcome = Outcome {
                document: Some(document),
                ..Outcome::of(input, url(number)?.into())
            };
            input += 1;
            outcome.count(config.unit(), &mut tally);
            lines.extend(OutcomeLine::of(&outcome).text()?.into_bytes());
            lines.push(b'\n');
            if plant(number) == Plant::Question {
                questions.push(format!("{}?\n", question(number)));
            }
            if let Plant::Protected(_) = plant(number) {
                let image = picture(number << 8 | 1, Change::None, 0, &url(number)?)?;
                fs::write(protect.join(format!("{number}.jpg")), &image.bytes)?;
            }
        }
        manifest
            .documents
            .push(writer.finish()?.in_folder("documents"));
        let name = Corpus::outcomes_name(part);
        write_atomically(&root.join(&name), &lines)?;
        let rows = numbers.len() as u64;
        manifest.outcomes.push(file_entry(&root, &name, rows)?);
        manifest.tally.merge(&tally);
    }
    questions.sort();
    fs::write(protect.join("questions.txt"), questions.concat())?;
    Ok(manifest.save(&root)?)
}
