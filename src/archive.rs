//! Images out of WARC files.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use m3w_crawler::warc::{self, Resource, WarcItem};
use m3w_document::DocumentId;
use url::Url;

use crate::source::Source;

/// Finds the images that the WARC files of a build hold, by URL.
///
/// Memory is some 50 bytes for each image; the bytes stay on disk until they are asked for.
/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Archive(Arc<Index>);

#[derive(Debug, Default)]
struct Index {
    files: Vec<PathBuf>,
    /// File and offset of each image's first record, by a digest of its URL.
    places: HashMap<DocumentId, (u32, u64)>,
    config: m3w_crawler::Config,
    is_closed: bool,
}

impl Archive {
    /// Goes through the WARC files once; no other source has an archive. With `fetch_missing` false
    /// what the files do not hold counts as unreachable.
    ///
    /// # Errors
    ///
    /// If a file cannot be read. A damaged record is passed over here; the build counts it.
    pub fn index(
        source: &Source,
        config: &m3w_crawler::Config,
        fetch_missing: bool,
    ) -> Result<Self> {
        let Source::Warc(files) = source else {
            return Ok(Self(Arc::new(Index {
                is_closed: !fetch_missing,
                ..Index::default()
            })));
        };
        let mut places = HashMap::new();
        for (number, path) in files.iter().enumerate() {
            let number = u32::try_from(number)?;
            for item in warc::pages(path, config)? {
                match item {
                    Ok(WarcItem::Resource(resource)) => {
                        if let Some(location) = resource.location {
                            places
                                .entry(DocumentId::of(&resource.url))
                                .or_insert((number, location.offset));
                        }
                    }
                    Ok(_) | Err(m3w_crawler::Error::Damaged { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(Self(Arc::new(Index {
            files: files.clone(),
            places,
            config: config.clone(),
            is_closed: !fetch_missing,
        })))
    }

    /// Whether images that are not here may not be fetched.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed
    }

    /// The image of that URL, if the files hold it.
    pub async fn image(&self, url: &Url) -> Option<Resource> {
        let &(file, offset) = self.0.places.get(&DocumentId::of(url))?;
        let index = Arc::clone(&self.0);
        let read = move || {
            let path = index.files.get(file as usize)?;
            warc::item_at(path, offset, &index.config).ok().flatten()
        };
        match tokio::task::spawn_blocking(read).await.ok()?? {
            WarcItem::Resource(resource) => Some(resource),
            WarcItem::Page(_) | WarcItem::Skipped(_) => None,
        }
    }
}
