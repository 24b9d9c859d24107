//! Folders of pictures: captions in files of the same name, or in a `metadata.jsonl` or
//! `metadata.csv` (with a column `file_name`), as Hugging Face's `imagefolder` has them.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use m3w_document::Reason;

use super::config::Columns;
use super::row::Row;
use super::sample::{Holder, Part, Role, role};
use super::{Kind, Media, PairsConfig, table};

/// Tables that name the pictures beside them.
const METADATA: [&str; 2] = ["metadata.jsonl", "metadata.csv"];
/// Their column of names.
const FILE_NAME: &str = "file_name";

/// Whether a folder with this file is one of pictures.
pub(super) fn is_of_pictures(file: &Path) -> bool {
    let extension = extension(file);
    let kinds = [Kind::Pairs, Kind::Vtp].into_iter();
    kinds
        .map(|kind| role(&extension, kind))
        .any(|role| role == Role::Picture)
}

fn extension(file: &Path) -> String {
    let extension = file.extension().unwrap_or_default();
    extension.to_string_lossy().to_ascii_lowercase()
}

/// The rows of a folder: those of its table, or one sample for each name of files.
pub(super) fn rows(
    folder: &Path,
    config: &PairsConfig,
    seed: u64,
) -> Result<Box<dyn Iterator<Item = Result<Row>>>> {
    let table = METADATA.map(|name| folder.join(name));
    if let Some(table) = table.into_iter().find(|path| path.is_file()) {
        return listed(folder, &table, config);
    }
    let mut files = files(folder);
    let mut next: Option<(String, Part)> = None;
    let mut waiting: std::vec::IntoIter<Row> = Vec::new().into_iter();
    let (folder, config) = (folder.to_owned(), config.clone());
    Ok(Box::new(std::iter::from_fn(move || {
        if let Some(row) = waiting.next() {
            return Some(Ok(row));
        }
        let mut sample: Option<(String, Vec<Part>)> = None;
        loop {
            let part = match next.take() {
                Some(part) => Some(part),
                None => match files.next().map(|file| part(&folder, &file?)).transpose() {
                    Ok(part) => part,
                    Err(error) => return Some(Err(error)),
                },
            };
            match (&mut sample, part) {
                (None, None) => return None,
                (None, Some((key, part))) => sample = Some((key, vec![part])),
                (Some((key, parts)), Some((its, part))) if its == *key => parts.push(part),
                (Some((key, parts)), other) => {
                    next = other;
                    let holder = Holder {
                        path: &folder,
                        is_archive: false,
                        config: &config,
                        seed,
                    };
                    waiting = holder.rows(key, parts).into_iter();
                    return waiting.next().map(Ok);
                }
            }
        }
    })))
}

/// A file as a part of the sample of that name.
fn part(folder: &Path, file: &Path) -> Result<(String, Part)> {
    let metadata = std::fs::metadata(file);
    let metadata = metadata.with_context(|| format!("cannot read {}", file.display()))?;
    let below = file.strip_prefix(folder).unwrap_or(file);
    let key = below.with_extension("").to_string_lossy().into_owned();
    let part = Part {
        name: below.to_string_lossy().into_owned(),
        extension: extension(file),
        offset: 0,
        length: metadata.len(),
    };
    Ok((key, part))
}

/// The rows of a table whose pictures lie beside it.
fn listed(
    folder: &Path,
    table: &Path,
    config: &PairsConfig,
) -> Result<Box<dyn Iterator<Item = Result<Row>>>> {
    let columns = Columns {
        url: Some(FILE_NAME.to_owned()),
        has_header: true,
        ..config.columns.clone()
    };
    let cells = table::cells(table, &columns)?;
    let (folder, config) = (folder.to_owned(), config.clone());
    Ok(Box::new(cells.map(move |cells| {
        let cells = match cells? {
            Ok(cells) => cells,
            Err((shown, reason)) => return Ok((shown, Err(reason))),
        };
        let holder = Holder {
            path: &folder,
            is_archive: false,
            config: &config,
            // Nothing is drawn for what a table names.
            seed: 0,
        };
        let shown = holder.shown(&cells.shown());
        let pair = cells.pair(|name| {
            let is_below = Path::new(name)
                .components()
                .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            if !is_below {
                return Err(Reason::new("input/bad-name"));
            }
            let (_, part) =
                part(&folder, &folder.join(name)).map_err(|_| Reason::new("input/no-picture"))?;
            Ok(Media::Stored(holder.stored(&part, None)))
        });
        Ok((shown, pair))
    })))
}

/// All files below a folder, hidden ones left out: those of a folder before those of the folders in
/// it, files of one name together. Folders behind links are not entered. Memory is the names in the
/// folders on the way to one.
pub(super) fn files(folder: &Path) -> impl Iterator<Item = Result<PathBuf>> + use<> {
    let mut waiting = vec![folder.to_owned()];
    let mut first = true;
    std::iter::from_fn(move || {
        loop {
            let path = waiting.pop()?;
            if !std::mem::take(&mut first) && !path.is_dir() {
                return Some(Ok(path));
            }
            match entries(&path) {
                Ok(entries) => waiting.extend(entries.into_iter().rev()),
                Err(error) => {
                    let context = format!("cannot read the folder {}", path.display());
                    return Some(Err(error).context(context));
                }
            }
        }
    })
}

fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let is_link = entry.file_type()?.is_symlink();
        let path = entry.path();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !(is_hidden || is_link && path.is_dir()) {
            entries.push((path.is_dir(), path.with_extension(""), path));
        }
    }
    entries.sort();
    Ok(entries.into_iter().map(|(_, _, path)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("pictures");
        for (name, content) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        rows(&root, &PairsConfig::default(), 0)
            .unwrap()
            .map(|row| {
                let (shown, pair) = row.unwrap();
                let what = pair.map_or_else(
                    |reason| reason.name.to_string(),
                    |pair| pair.caption.clone(),
                );
                format!("{shown}: {what}")
            })
            .collect()
    }

    #[test]
    fn a_picture_and_its_caption_share_a_name() {
        let found = outcomes(&[
            ("a.jpg", ""),
            ("a.k.jpg", ""),
            ("a.txt", "a cat"),
            ("b.JPG", ""),
            (
                "b.json",
                "{\"caption\": \"a dog\", \"url\": \"http://a.test/b.jpg\"}",
            ),
            ("b.png", ""),
            ("sub/c.webp", ""),
            ("sub/d.txt", "nothing"),
            (".hidden.jpg", ""),
        ]);
        assert_eq!(
            found,
            [
                "pictures/a.jpg: a cat",
                "pictures/a.k.jpg: input/no-caption",
                "pictures/b.JPG: a dog",
                "pictures/b.png: input/second-picture",
                "pictures/sub/c.webp: input/no-caption",
                "pictures/sub/d: input/no-picture",
            ]
        );
    }

    #[test]
    fn a_table_names_the_pictures_beside_it() {
        let found = outcomes(&[
            (
                "metadata.csv",
                "file_name,text\na.jpg,a cat\n../x.jpg,out\nb.jpg,gone\n/a.jpg,out\n",
            ),
            ("a.jpg", ""),
        ]);
        assert_eq!(
            found,
            [
                "pictures/a.jpg: a cat",
                "pictures/../x.jpg: input/bad-name",
                "pictures/b.jpg: input/no-picture",
                "pictures//a.jpg: input/bad-name",
            ]
        );
    }
}
