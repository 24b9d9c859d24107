//! Files of answers and references: one entry for each example, found by its id.
//!
//! Read are JSON lists of objects with an id, JSON lines of such objects, JSON objects from ids to
//! entries, and objects with a list `annotations`, as COCO and VQA have them.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

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

/// Entries by their ids, in the order of the file.
///
/// Holds the whole file's values.
pub struct Keyed {
    path: PathBuf,
    entries: Vec<(String, Value)>,
}

impl Keyed {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is none of the forms; the message names the entry or the line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        let entries = parse(&text).with_context(|| format!("cannot use {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            entries,
        })
    }

    /// Its entries.
    #[must_use]
    pub fn entries(&self) -> &[(String, Value)] {
        &self.entries
    }

    /// The file, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same, with an entry for each member of those that are objects from ids to words, as in
    /// NExT-QA's results: `video/question`.
    #[must_use]
    pub fn flat(self) -> Self {
        let mut entries = Vec::with_capacity(self.entries.len());
        for (id, value) in self.entries {
            match value {
                Value::Object(members)
                    if !members.is_empty()
                        && members.iter().all(|(name, value)| {
                            name.parse::<u64>().is_ok() && value.is_string()
                        }) =>
                {
                    let members = members.into_iter();
                    entries.extend(members.map(|(name, value)| (format!("{id}/{name}"), value)));
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
    pub fn grouped(&self) -> Vec<(&str, Vec<&Value>)> {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut groups: Vec<(&str, Vec<&Value>)> = Vec::new();
        for (id, value) in &self.entries {
            let place = *places.entry(id).or_insert(groups.len());
            if place == groups.len() {
                groups.push((id, Vec::new()));
            }
            groups[place].1.push(value);
        }
        groups
    }

    /// The only entry of each id.
    ///
    /// # Errors
    ///
    /// If an id has two.
    pub fn single(&self) -> Result<HashMap<&str, &Value>> {
        let mut single = HashMap::with_capacity(self.entries.len());
        for (id, value) in &self.entries {
            ensure!(
                single.insert(id.as_str(), value).is_none(),
                "{} has two entries for {id}: leave one",
                self.path.display()
            );
        }
        Ok(single)
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

fn parse(text: &str) -> Result<Vec<(String, Value)>> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if let Ok(list) = serde_json::from_str::<Vec<Value>>(text) {
        return with_ids(list);
    }
    if let Ok(Members(members)) = serde_json::from_str(text) {
        return of_object(members);
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

/// The members of a JSON object in the order of the file.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

fn of_object(members: Vec<(String, Value)>) -> Result<Vec<(String, Value)>> {
    let mut annotations = None;
    for (name, value) in &members {
        if let ("annotations", Value::Array(list)) = (name.as_str(), value) {
            annotations = Some(list.clone());
        }
    }
    let Some(list) = annotations else {
        // One line of JSON lines is an object too.
        if members.iter().any(|(name, _)| IDS.contains(&name.as_str())) {
            return with_ids(vec![Value::Object(members.into_iter().collect())]);
        }
        return Ok(members);
    };
    let entries = with_ids(list)?;
    // COCO's order is that of its images.
    let images = members.into_iter().find(|(name, _)| name == "images");
    let Some((_, Value::Array(images))) = images else {
        return Ok(entries);
    };
    let ids = images.iter().filter_map(|image| text_of(image.get("id")?));
    let order: HashMap<String, usize> = ids.enumerate().map(|(at, id)| (id, at)).collect();
    let mut entries = entries;
    entries.sort_by_key(|(id, _)| order.get(id).copied().unwrap_or(usize::MAX));
    Ok(entries)
}

fn with_ids(list: Vec<Value>) -> Result<Vec<(String, Value)>> {
    let mut entries = Vec::with_capacity(list.len());
    for (number, value) in list.into_iter().enumerate() {
        let id = IDS.iter().find_map(|name| text_of(value.get(name)?));
        let Some(mut id) = id else {
            bail!(
                "entry {}: it has no id; name it `{}`",
                number + 1,
                IDS.join("`, `")
            );
        };
        if let Some(round) = value.get("round_id").and_then(text_of) {
            id = format!("{id}/{round}");
        }
        entries.push((id, value));
    }
    Ok(entries)
}

/// A number or a text, as text.
pub(crate) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<String> {
        let entries = parse(text).unwrap();
        entries.into_iter().map(|(id, _)| id).collect()
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
