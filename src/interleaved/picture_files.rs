//! Pictures by name: a folder of files, and of tars of files.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use url::Url;

use super::file_url;
use crate::pairs::{Found, Stored, members};

/// A folder of pictures. Memory is the names of those in its archives, some 100 bytes for each.
#[derive(Debug)]
pub(super) struct PictureFiles {
    folder: PathBuf,
    archives: Vec<Arc<Path>>,
    /// Archive, first byte and length of each picture.
    places: HashMap<String, (usize, u64, u64)>,
}

impl PictureFiles {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        ensure!(
            folder.is_dir(),
            "{} is no folder of pictures",
            folder.display()
        );
        let context = || format!("cannot read the folder {}", folder.display());
        let mut archives: Vec<Arc<Path>> = Vec::new();
        for entry in std::fs::read_dir(folder).with_context(context)? {
            let path = entry.with_context(context)?.path();
            let extension = path.extension();
            if extension.is_some_and(|extension| extension.eq_ignore_ascii_case("tar")) {
                archives.push(path.into());
            }
        }
        archives.sort();
        let mut places = HashMap::new();
        for (number, archive) in archives.iter().enumerate() {
            for member in members(archive)? {
                if let Found::File(member) = member? {
                    let place = (number, member.offset, member.length);
                    places.entry(member.name).or_insert(place);
                }
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            archives,
            places,
        })
    }

    /// The picture of that name, if there is one.
    pub(super) fn find(&self, name: &str, url: Option<Url>) -> Option<Stored> {
        if let Some(&(archive, offset, length)) = self.places.get(name) {
            let file = &self.archives[archive];
            return Some(Stored {
                url: url.unwrap_or_else(|| file_url(file, name)),
                file: Arc::clone(file),
                offset,
                length,
            });
        }
        // A name out of a file must not lead elsewhere.
        let mut parts = Path::new(name).components();
        if name.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_))) {
            return None;
        }
        let path = self.folder.join(name);
        let metadata = std::fs::symlink_metadata(&path).ok()?;
        metadata.is_file().then(|| Stored {
            url: url.unwrap_or_else(|| file_url(&self.folder, name)),
            file: path.into(),
            offset: 0,
            length: metadata.len(),
        })
    }

    /// What tells it from another, in text.
    pub(super) fn description(&self) -> String {
        let name = self
            .folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        format!("{name}\t{}\n", self.places.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_out_of_the_folder_finds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("pictures")).unwrap();
        for name in ["secret.png", "pictures/a.png"] {
            std::fs::write(folder.path().join(name), b"12345").unwrap();
        }
        let pictures = PictureFiles::open(&folder.path().join("pictures")).unwrap();
        let found = pictures.find("a.png", None).unwrap();
        assert_eq!(found.length, 5);
        assert_eq!(found.url.as_str(), "file:///pictures/a.png");
        let absolute = folder.path().join("secret.png");
        for name in [
            "../secret.png",
            "",
            ".",
            absolute.to_str().unwrap(),
            "b.png",
        ] {
            assert_eq!(pictures.find(name, None), None, "{name}");
        }
    }
}
