//! What only the whole list can tell: repeats, captions of many pictures, rare words.

use anyhow::Result;
use m3w_document::caption::hash;
use m3w_document::{DocumentId, Reason, caption};

use super::row::Row;
use super::{Media, PairsConfig};
use crate::bits::Bits;
use crate::hashes::Hashes;
use crate::video::Span;

/// Inputs that are refused for what other inputs hold, and why: a few bits for each input.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Vec<(Reason, Bits)>);

impl Refusals {
    /// Refuses inputs that no earlier reason refuses.
    pub(crate) fn add(&mut self, reason: &'static str, inputs: Bits) {
        self.0.push((Reason::new(reason), inputs));
    }

    /// Why the input is refused, if it is.
    #[must_use]
    pub fn reason(&self, input: u64) -> Option<&Reason> {
        let found = self.0.iter().find(|(_, inputs)| inputs.contains(input));
        found.map(|(reason, _)| reason)
    }
}

/// Counts the rows and finds those to refuse, in this order: a pair that was listed before; a
/// caption of too many pictures; a picture of too many captions; a caption with a rare word or
/// pair of words. Each rule counts what stayed by itself, and rows that repeat an earlier one
/// count nowhere.
///
/// Hashes are held as [`Hashes`] says: 16 bytes a row and rule, and for rare words 16 bytes for
/// each word and pair of words, nearly all of it in temporary files.
pub(super) fn survey(
    rows: impl Iterator<Item = Result<Row>>,
    config: &PairsConfig,
) -> Result<(u64, Refusals)> {
    let mut total = 0;
    let mut pairs = Hashes::default();
    let mut captions = Hashes::default();
    let mut pictures = Hashes::default();
    let mut grams = Hashes::default();
    for row in rows {
        let number = total;
        total += 1;
        let (_, Ok(pair)) = row? else { continue };
        let caption = hash(&[pair.caption.as_bytes()]);
        // A picture at hand has a place of its own; what it repeats, its content will tell.
        if let Media::Url(url) = &pair.media {
            let url = DocumentId::of(url).0;
            let start = match pair.span {
                Some(Span::At { start_ms, .. }) => start_ms,
                _ => 0,
            };
            let parts = [&url[..], &start.to_le_bytes(), pair.caption.as_bytes()];
            pairs.add(hash(&parts), number)?;
            if config.max_captions_per_image > 0 {
                pictures.add(hash(&[&url]), number)?;
            }
        }
        if config.max_images_per_caption > 0 {
            captions.add(caption, number)?;
        }
        if config.most_frequent_grams > 0 {
            for gram in caption::grams(&pair.caption) {
                grams.add(gram, number)?;
            }
        }
    }
    let mut refusals = Refusals::default();
    let repeats = pairs.repeats()?;
    let shared = more_than(&mut captions, config.max_images_per_caption, &repeats)?;
    let described = more_than(&mut pictures, config.max_captions_per_image, &repeats)?;
    let rare = rare(&mut grams, config.most_frequent_grams, &repeats)?;
    refusals.add("dedup/listed-before", repeats);
    refusals.add("caption/of-many-images", shared);
    refusals.add("caption/many-of-one-image", described);
    refusals.add("caption/rare-words", rare);
    Ok((total, refusals))
}

/// The inputs whose hash more than `most` inputs have, those in `without` not counted.
fn more_than(hashes: &mut Hashes, most: u64, without: &Bits) -> Result<Bits> {
    let mut found = Bits::default();
    hashes.for_each(|entries| {
        let counted = || {
            entries
                .iter()
                .filter(|(_, input)| !without.contains(*input))
        };
        if counted().count() as u64 > most {
            counted().for_each(|(_, input)| found.insert(*input));
        }
    })?;
    Ok(found)
}

/// The inputs with a hash that is not among the `most` most frequent ones, nor as frequent as the
/// last of them.
fn rare(hashes: &mut Hashes, most: u64, without: &Bits) -> Result<Bits> {
    let mut found = Bits::default();
    if most == 0 || hashes.count() <= most {
        return Ok(found);
    }
    let count = |entries: &[(u64, u64)]| {
        let counted = entries
            .iter()
            .filter(|(_, input)| !without.contains(*input));
        counted.count() as u64
    };
    // How many hashes there are of each frequency: frequencies are few, since they add up.
    let mut frequencies = std::collections::BTreeMap::<u64, u64>::new();
    hashes.for_each(|entries| *frequencies.entry(count(entries)).or_default() += 1)?;
    let mut ranked = 0;
    let mut least = 0;
    for (frequency, number) in frequencies.into_iter().rev() {
        if ranked >= most {
            break;
        }
        ranked += number;
        least = frequency;
    }
    hashes.for_each(|entries| {
        if count(entries) < least {
            entries.iter().for_each(|(_, input)| found.insert(*input));
        }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairs::{Checksums, Pair};

    fn refused(rows: &[(&str, &str)], config: &PairsConfig) -> Vec<String> {
        let rows: Vec<Result<Row>> = rows
            .iter()
            .map(|(url, caption)| {
                let pair = Pair {
                    media: Media::Url(url::Url::parse(&format!("http://a.test/{url}")).unwrap()),
                    caption: (*caption).to_owned(),
                    checksums: Checksums::default(),
                    span: None,
                };
                Ok(((*url).to_owned(), Ok(pair)))
            })
            .collect();
        let (total, refusals) = survey(rows.into_iter(), config).unwrap();
        (0..total)
            .map(|input| {
                let reason = refusals.reason(input);
                reason.map_or(String::new(), |reason| reason.name.to_string())
            })
            .collect()
    }

    #[test]
    fn a_pair_repeats_another_by_url_and_caption_together() {
        let rows = [("1", "a"), ("1", "b"), ("2", "a"), ("1", "a")];
        assert_eq!(
            refused(&rows, &PairsConfig::default()),
            ["", "", "", "dedup/listed-before"]
        );
    }

    #[test]
    fn a_caption_of_too_many_pictures_goes_and_repeats_do_not_count() {
        let config = PairsConfig {
            max_images_per_caption: 2,
            ..PairsConfig::default()
        };
        let rows = [
            ("1", "a"),
            ("2", "a"),
            ("2", "a"),
            ("3", "b"),
            ("4", "b"),
            ("5", "b"),
        ];
        let many = "caption/of-many-images";
        assert_eq!(
            refused(&rows, &config),
            ["", "", "dedup/listed-before", many, many, many]
        );
    }

    #[test]
    fn a_picture_of_too_many_captions_goes() {
        let config = PairsConfig {
            max_captions_per_image: 1,
            ..PairsConfig::default()
        };
        let rows = [("1", "a"), ("1", "b"), ("2", "c")];
        let many = "caption/many-of-one-image";
        assert_eq!(refused(&rows, &config), [many, many, ""]);
    }

    #[test]
    fn a_caption_with_a_rare_word_goes_and_ties_stay() {
        let with = |most_frequent_grams| PairsConfig {
            most_frequent_grams,
            ..PairsConfig::default()
        };
        let rows = [
            ("1", "cat"),
            ("2", "cat"),
            ("3", "dog"),
            ("4", "dog"),
            ("5", "emu"),
        ];
        let rare = "caption/rare-words";
        assert_eq!(refused(&rows, &with(1)), ["", "", "", "", rare]);
        assert_eq!(refused(&rows, &with(2)), ["", "", "", "", rare]);
        assert_eq!(refused(&rows, &with(3)), ["", "", "", "", ""]);
    }
}
