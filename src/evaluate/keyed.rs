//! Files of answers and references: one entry for each example, found by its id.
//!
//! Read are JSON lists of objects with an id, JSON lines of such objects, JSON objects from ids to
//! entries, and objects with a list `annotations`, as COCO and VQA have them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use foldhash::fast::RandomState;

use super::json::{Json, Members};

/// Longest file that is read.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// Where an object has its id, the most special name first.
const IDS: [&str; 6] = [
    "question_id",
    "image_id",
    "video_id",
    "videoID",
    "img_id",
    "id",
];

/// What an entry is found by. `7` and `"7"` are one id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Id<'t> {
    /// A number, or a text that writes one as `Display` does.
    Number(u64),
    /// Any other text.
    Text(Cow<'t, str>),
}

impl<'t> Id<'t> {
    fn of(value: &Json<'t>) -> Option<Self> {
        match value {
            Json::Number(number) => Some(match number.as_u64() {
                Some(number) => Self::Number(number),
                None => Self::Text(Cow::Owned(number.to_string())),
            }),
            Json::Text(text) => Some(text.clone().into()),
            _ => None,
        }
    }
}

impl<'t> From<Cow<'t, str>> for Id<'t> {
    fn from(text: Cow<'t, str>) -> Self {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        match text.parse() {
            Ok(number) if is_plain || text == "0" => Self::Number(number),
            _ => Self::Text(text),
        }
    }
}

impl From<String> for Id<'_> {
    fn from(text: String) -> Self {
        Cow::<str>::Owned(text).into()
    }
}

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// By their ids: seeded at random, as the standard library's, and twice as fast.
type ById<I, V> = HashMap<I, V, RandomState>;

/// Entries by their ids, in the order of the file.
///
/// Holds the whole file's values; their words are those of its text.
pub struct Keyed<'t> {
    path: &'t Path,
    entries: Vec<(Id<'t>, Json<'t>)>,
}

impl<'t> Keyed<'t> {
    /// Parses the text of a file.
    ///
    /// # Errors
    ///
    /// If it is none of the forms; the message names the entry or the line.
    pub fn parse(path: &'t Path, text: &'t str) -> Result<Self> {
        let entries = parse(text).with_context(|| format!("cannot use {}", path.display()))?;
        Ok(Self { path, entries })
    }

    /// Its entries.
    #[must_use]
    pub fn entries(&self) -> &[(Id<'t>, Json<'t>)] {
        &self.entries
    }

    /// The file, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.path
    }

    /// The same, with an entry for each member of those that are objects from ids to words, as in
    /// NExT-QA's results: `video/question`.
    #[must_use]
    pub fn flat(self) -> Self {
        let is_nested = |members: &Members<'_>| {
            let mut all = members.iter();
            let is_answer = |(name, value): &(Cow<'_, str>, Json<'_>)| {
                name.parse::<u64>().is_ok() && matches!(value, Json::Text(_))
            };
            !members.is_empty() && all.all(is_answer)
        };
        if !self
            .entries
            .iter()
            .any(|(_, value)| matches!(value, Json::Object(members) if is_nested(members)))
        {
            return self;
        }
        let mut entries = Vec::with_capacity(self.entries.len());
        for (id, value) in self.entries {
            match value {
                Json::Object(members) if is_nested(&members) => {
                    let members = members.into_iter();
                    entries.extend(
                        members.map(|(name, value)| (Id::from(format!("{id}/{name}")), value)),
                    );
                }
                other => entries.push((id, other)),
            }
        }
        Self {
            path: self.path,
            entries,
        }
    }

    /// The entries of each id, ids in the order in which they come first.
    #[must_use]
    pub fn grouped(&self) -> Groups<'_, 't> {
        let mut places: ById<&Id<'t>, usize> =
            ById::with_capacity_and_hasher(self.entries.len(), RandomState::default());
        let mut ids = Vec::new();
        let mut place_of = Vec::with_capacity(self.entries.len());
        for (id, _) in &self.entries {
            let place = *places.entry(id).or_insert(ids.len());
            if place == ids.len() {
                ids.push(id);
            }
            place_of.push(place);
        }
        let mut order: Vec<usize> = (0..place_of.len()).collect();
        if ids.len() < place_of.len() {
            order.sort_by_key(|entry| place_of[*entry]);
        }
        let entries = order.iter().map(|entry| &self.entries[*entry].1).collect();
        let mut ends = vec![0; ids.len()];
        for (at, entry) in order.iter().enumerate() {
            ends[place_of[*entry]] = at + 1;
        }
        Groups { ids, ends, entries }
    }

    /// The only entry of each id.
    ///
    /// # Errors
    ///
    /// If an id has two.
    pub fn single(&self) -> Result<HashMap<&Id<'t>, &Json<'t>, RandomState>> {
        let mut single = ById::with_capacity_and_hasher(self.entries.len(), RandomState::default());
        for (id, value) in &self.entries {
            ensure!(
                single.insert(id, value).is_none(),
                "{} has two entries for {id}: leave one",
                self.path.display()
            );
        }
        Ok(single)
    }
}

/// Entries of one id side by side.
pub struct Groups<'k, 't> {
    ids: Vec<&'k Id<'t>>,
    ends: Vec<usize>,
    entries: Vec<&'k Json<'t>>,
}

impl<'k, 't> Groups<'k, 't> {
    /// Each id with its entries.
    pub fn iter(&self) -> impl Iterator<Item = (&'k Id<'t>, &[&'k Json<'t>])> {
        let ids = self.ids.iter().enumerate();
        ids.map(|(place, &id)| {
            let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
            (id, &self.entries[start..self.ends[place]])
        })
    }
}

/// A file's text.
///
/// # Errors
///
/// If it is missing, too long, or not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let name = path.display();
    let size = fs::metadata(path)
        .with_context(|| format!("cannot read {name}"))?
        .len();
    ensure!(
        size <= MAX_FILE_BYTES,
        "{name} has {size} bytes: split it, {MAX_FILE_BYTES} are read at most"
    );
    fs::read_to_string(path).with_context(|| format!("cannot read {name}"))
}

type Entries<'t> = Vec<(Id<'t>, Json<'t>)>;

fn parse(text: &str) -> Result<Entries<'_>> {
    let text = text.trim_start_matches('\u{feff}').trim();
    match serde_json::from_str(text) {
        Ok(Json::List(list)) => return with_ids(list),
        Ok(Json::Object(members)) => return of_object(members),
        _ => {}
    }
    let lines = text.lines().enumerate();
    let mut list = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let value = serde_json::from_str(line).with_context(|| {
            format!(
                "line {}: it is neither a JSON list or object nor a line of JSON",
                number + 1
            )
        })?;
        list.push(value);
    }
    with_ids(list)
}

fn of_object(mut members: Members<'_>) -> Result<Entries<'_>> {
    let annotations = members
        .iter()
        .rposition(|(name, value)| name == "annotations" && matches!(value, Json::List(_)));
    let Some(annotations) = annotations else {
        // One line of JSON lines is an object too.
        if members.iter().any(|(name, _)| IDS.contains(&name.as_ref())) {
            return with_ids(vec![Json::Object(members)]);
        }
        let members = members.into_iter();
        return Ok(members
            .map(|(name, value)| (Id::from(name), value))
            .collect());
    };
    let (_, Json::List(list)) = members.swap_remove(annotations) else {
        return Ok(Vec::new());
    };
    let mut entries = with_ids(list)?;
    // COCO's order is that of its images.
    let images = members.iter().find(|(name, _)| name == "images");
    let Some((_, Json::List(images))) = images else {
        return Ok(entries);
    };
    let ids = images.iter().filter_map(|image| Id::of(image.get("id")?));
    let order: HashMap<Id<'_>, usize> = ids.enumerate().map(|(at, id)| (id, at)).collect();
    entries.sort_by_cached_key(|(id, _)| order.get(id).copied().unwrap_or(usize::MAX));
    Ok(entries)
}

fn with_ids(list: Vec<Json<'_>>) -> Result<Entries<'_>> {
    let mut entries = Vec::with_capacity(list.len());
    for (number, value) in list.into_iter().enumerate() {
        let Some(mut id) = id_of(&value) else {
            bail!(
                "entry {}: it has no id; name it `{}`",
                number + 1,
                IDS.join("`, `")
            );
        };
        if let Some(round) = value.get("round_id").and_then(Json::words) {
            id = Id::from(format!("{id}/{round}"));
        }
        entries.push((id, value));
    }
    Ok(entries)
}

/// The value of the most special of its names that has one.
fn id_of<'t>(value: &Json<'t>) -> Option<Id<'t>> {
    let Json::Object(members) = value else {
        return None;
    };
    // Most have one such name.
    let ranks = members.iter().rev().filter_map(|(name, value)| {
        let rank = IDS.iter().position(|id| id == name)?;
        Some((rank, Id::of(value)?))
    });
    ranks.min_by_key(|(rank, _)| *rank).map(|(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<String> {
        let entries = parse(text).unwrap();
        entries.into_iter().map(|(id, _)| id.to_string()).collect()
    }

    #[test]
    fn ids_are_found_in_every_form_and_keep_their_order() {
        assert_eq!(
            ids(r#"[{"image_id": 7, "caption": "a"}, {"image_id": 3}]"#),
            ["7", "3"]
        );
        assert_eq!(ids(r#"{"z": "one", "a": ["two"]}"#), ["z", "a"]);
        assert_eq!(ids("{\"id\": \"x\"}\n{\"id\": 2}\n"), ["x", "2"]);
        assert_eq!(ids("{\"id\": \"x\", \"label\": 1}"), ["x"]);
        let coco = r#"{"images": [{"id": 2}, {"id": 1}],
            "annotations": [{"image_id": 1, "id": 9}, {"image_id": 2, "id": 8}]}"#;
        assert_eq!(ids(coco), ["2", "1"]);
        assert_eq!(ids(r#"{"007": "one", "7": "two"}"#), ["007", "7"]);
        let rounds = r#"[{"image_id": 5, "round_id": 3}]"#;
        assert_eq!(ids(rounds), ["5/3"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let message = |text| format!("{:#}", parse(text).err().unwrap());
        assert!(message("{\"id\": 1}\n{\"id\"").contains("line 2"));
        assert!(message("[{\"id\": 1}, {\"name\": 1}]").contains("entry 2"));
    }
}
