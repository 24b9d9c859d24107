//! What `--input` names: files, patterns, folders.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use m3w_document::Sha256;
use sha2::Digest;

use super::row::Row;
use super::{PairsConfig, archive, folder, table};

/// One list, archive or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    Table(PathBuf),
    Archive(PathBuf),
    Folder(PathBuf),
}

impl Input {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Table(path) | Self::Archive(path) | Self::Folder(path) => path,
        }
    }

    /// Its rows in order.
    pub(super) fn rows(
        self,
        config: &PairsConfig,
        seed: u64,
    ) -> Result<Box<dyn Iterator<Item = Result<Row>>>> {
        match self {
            Self::Table(path) => table::rows(&path, &config.columns),
            Self::Archive(path) => archive::rows(&path, config, seed),
            Self::Folder(path) => folder::rows(&path, config, seed),
        }
    }

    /// What tells it from another, in text.
    pub(super) fn description(&self) -> Result<String> {
        match self {
            Self::Table(path) => Ok(digest(path)?.to_string()),
            Self::Archive(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                Ok(format!("{name}\t{}", std::fs::metadata(path)?.len()))
            }
            Self::Folder(path) => {
                let mut description = String::new();
                for file in folder::files(path) {
                    let file = file?;
                    let name = file.strip_prefix(path).unwrap_or(&file).to_string_lossy();
                    let length = std::fs::metadata(&file)?.len();
                    description.push_str(&format!("{name}\t{length}\n"));
                }
                Ok(Sha256::of(description.as_bytes()).to_string())
            }
        }
    }
}

/// The digest of a file, read a piece at a time.
fn digest(path: &Path) -> Result<Sha256> {
    let mut file = BufReader::new(File::open(path)?);
    let mut hasher = sha2::Sha256::new();
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(Sha256(hasher.finalize().into()));
        }
        hasher.update(bytes);
        let used = bytes.len();
        file.consume(used);
    }
}

/// The inputs that paths and patterns name, each pattern's in the order of their names.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<Input>> {
    ensure!(!paths.is_empty(), "no input was named");
    let mut inputs = Vec::new();
    for path in paths {
        if path.is_dir() {
            inputs.extend(in_folder(path)?);
        } else if path.is_file() {
            inputs.push(file(path)?);
        } else if has_signs(path.file_name().unwrap_or_default().as_encoded_bytes()) {
            let found = matching(path)?;
            ensure!(!found.is_empty(), "no file matches {}", path.display());
            for path in found {
                inputs.push(file(&path)?);
            }
        } else {
            bail!("cannot read {}: there is no such file", path.display());
        }
    }
    Ok(inputs)
}

/// The files that paths and patterns name whose names end in one of `endings`: of a folder and of
/// a pattern those that do, each in the order of their names.
pub(crate) fn files_with(paths: &[PathBuf], endings: &[&str]) -> Result<Vec<PathBuf>> {
    ensure!(!paths.is_empty(), "no input was named");
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_ascii_lowercase();
        endings.iter().any(|ending| name.ends_with(ending))
    };
    let mut files = Vec::new();
    for path in paths {
        let found = if path.is_file() {
            vec![path.clone()]
        } else if path.is_dir() {
            listed(path)?
        } else if has_signs(path.file_name().unwrap_or_default().as_encoded_bytes()) {
            matching(path)?
        } else {
            bail!("cannot read {}: there is no such file", path.display());
        };
        let before = files.len();
        files.extend(found.into_iter().filter(is_one));
        ensure!(
            files.len() > before,
            "{} names no file that ends in {}",
            path.display(),
            endings.join(", ")
        );
    }
    Ok(files)
}

fn file(path: &Path) -> Result<Input> {
    if is_archive(path) {
        Ok(Input::Archive(path.to_owned()))
    } else if table::is_table(path) {
        Ok(Input::Table(path.to_owned()))
    } else {
        bail!(
            "cannot tell what {} is: lists end in .csv, .tsv, .jsonl (or with .gz after it) or \
             .parquet, archives in .tar (unpack .tar.gz first)",
            path.display()
        )
    }
}

fn is_archive(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("tar"))
}

/// A folder's archives, if it has any, for the lists beside them only describe them; or the folder
/// itself, if it holds pictures; or its lists.
fn in_folder(folder: &Path) -> Result<Vec<Input>> {
    let files = listed(folder)?;
    let archives: Vec<Input> = files
        .iter()
        .filter(|path| is_archive(path))
        .map(|path| Input::Archive(path.clone()))
        .collect();
    if !archives.is_empty() {
        return Ok(archives);
    }
    for file in folder::files(folder) {
        if folder::is_of_pictures(&file?) {
            return Ok(vec![Input::Folder(folder.to_owned())]);
        }
    }
    let tables: Vec<Input> = files
        .into_iter()
        .filter(|path| table::is_table(path))
        .map(Input::Table)
        .collect();
    ensure!(
        !tables.is_empty(),
        "{} holds no pictures, archives or lists",
        folder.display()
    );
    Ok(tables)
}

/// The files of one folder by name.
fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot read the folder {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn has_signs(name: &[u8]) -> bool {
    name.contains(&b'*') || name.contains(&b'?')
}

fn matching(pattern: &Path) -> Result<Vec<PathBuf>> {
    let folder = match pattern.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    ensure!(
        folder.is_dir(),
        "there is no folder {}: `*` and `?` may stand in the last part of a path only",
        folder.display()
    );
    let name = pattern.file_name().unwrap_or_default().as_encoded_bytes();
    let files = listed(folder)?.into_iter();
    Ok(files
        .filter(|path| {
            let found = path.file_name().unwrap_or_default().as_encoded_bytes();
            matches(name, found)
        })
        .collect())
}

/// Whether a name matches a pattern of `*` (any signs) and `?` (one byte), in time that is at most
/// the product of their lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where the last `*` stands, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(sign) if *sign == b'?' || *sign == name[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((place, taken)) = star else {
                    return false;
                };
                star = Some((place, taken + 1));
                at = place + 1;
                from = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|sign| *sign == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("*.tar", "00.tar", true),
            ("part-?.csv", "part-1.csv", true),
            ("part-?.csv", "part-10.csv", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbxx", false),
            ("**", "", true),
            ("", "x", false),
        ] {
            let found = matches(pattern.as_bytes(), name.as_bytes());
            assert_eq!(found, expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_an_input_names_is_told_by_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let touch = |name: &str| std::fs::write(at(name), b"").unwrap();
        let find_one = |path: PathBuf| find(&[path]);
        let said = |path: PathBuf| find(&[path]).unwrap_err().to_string();
        assert!(said(at("no.csv")).contains("no such file"));
        assert!(said(at("*.csv")).contains("no file matches"));
        assert!(said(folder.path().to_owned()).contains("holds no pictures"));
        for name in ["b.csv", "a.csv", "c.txt"] {
            touch(name);
        }
        let tables = [at("a.csv"), at("b.csv")].map(Input::Table);
        assert_eq!(find_one(at("*.csv")).unwrap(), tables);
        assert_eq!(find_one(folder.path().to_owned()).unwrap(), tables);
        assert!(said(at("c.txt")).contains(".parquet"));
        touch("a.jpg");
        let pictures = [Input::Folder(folder.path().to_owned())];
        assert_eq!(find_one(folder.path().to_owned()).unwrap(), pictures);
        touch("0.tar");
        assert_eq!(
            find_one(folder.path().to_owned()).unwrap(),
            [Input::Archive(at("0.tar"))]
        );
    }
}
