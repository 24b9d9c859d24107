//! Sitemaps: lists of a site's pages, by the site itself (sitemaps.org).

use std::io::Read;

use flate2::read::MultiGzDecoder;
use quick_xml::Reader;
use quick_xml::events::Event;
use url::Url;

/// Largest sitemap, unpacked: what the protocol allows (sitemaps.org).
pub(crate) const MAX_SITEMAP_BYTES: usize = 50 << 20;
/// Entries of one sitemap: likewise.
const MAX_SITEMAP_ENTRIES: usize = 50_000;

/// What a sitemap names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sitemap {
    /// Pages.
    pub pages: Vec<Url>,
    /// Further sitemaps, if it is an index.
    pub sitemaps: Vec<Url>,
}

impl Sitemap {
    /// Reads a sitemap or an index of sitemaps: XML, or a text with one URL a line, either of them
    /// also packed with gzip. What is broken yields what stands before it.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut unpacked = Vec::new();
        let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
            // What is cut off or damaged is read as far as it goes.
            let _ = MultiGzDecoder::new(bytes)
                .take(MAX_SITEMAP_BYTES as u64)
                .read_to_end(&mut unpacked);
            unpacked.as_slice()
        } else {
            bytes
        };
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        if text.starts_with('<') {
            return Self::from_xml(text);
        }
        let pages = text.lines().filter_map(|line| crate::normalise(line).ok());
        Self {
            pages: pages.take(MAX_SITEMAP_ENTRIES).collect(),
            sitemaps: Vec::new(),
        }
    }

    fn from_xml(text: &str) -> Self {
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_end_names = false;
        let mut sitemap = Self::default();
        let mut is_index = false;
        let mut location: Option<String> = None;
        while sitemap.pages.len() + sitemap.sitemaps.len() < MAX_SITEMAP_ENTRIES {
            match reader.read_event() {
                Ok(Event::Start(tag)) => match tag.local_name().as_ref() {
                    "sitemap" => is_index = true,
                    "url" => is_index = false,
                    "loc" => location = Some(String::new()),
                    _ => {}
                },
                Ok(Event::Text(text)) => {
                    if let Some(location) = &mut location {
                        location.push_str(&text);
                    }
                }
                Ok(Event::CData(text)) => {
                    if let Some(location) = &mut location {
                        location.push_str(&text);
                    }
                }
                Ok(Event::GeneralRef(name)) => {
                    let character = match &name[..] {
                        "amp" => "&",
                        "lt" => "<",
                        "gt" => ">",
                        "quot" => "\"",
                        "apos" => "'",
                        _ => "",
                    };
                    if let Some(location) = &mut location {
                        location.push_str(character);
                    }
                }
                Ok(Event::End(tag)) if tag.local_name().as_ref() == "loc" => {
                    if let Some(Ok(url)) = location.take().map(|text| crate::normalise(&text)) {
                        if is_index {
                            sitemap.sitemaps.push(url);
                        } else {
                            sitemap.pages.push(url);
                        }
                    }
                }
                Ok(Event::Eof) | Err(_) => break,
                Ok(_) => {}
            }
        }
        sitemap
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn texts(urls: &[Url]) -> Vec<&str> {
        urls.iter().map(Url::as_str).collect()
    }

    #[test]
    fn sitemaps_and_their_indexes_are_read_packed_or_not() {
        let xml = "<?xml version='1.0'?><urlset xmlns='x'><url><loc> http://h.test/a?x=1&amp;y=2 \
            </loc></url><url><loc><![CDATA[http://h.test/b]]></loc></url></urlset>";
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(xml.as_bytes()).unwrap();
        for bytes in [xml.as_bytes(), &packed.finish().unwrap()] {
            let sitemap = Sitemap::parse(bytes);
            let expected = ["http://h.test/a?x=1&y=2", "http://h.test/b"];
            assert_eq!(texts(&sitemap.pages), expected);
        }
        let index = "<sitemapindex><sitemap><loc>http://h.test/s.xml.gz</loc></sitemap>";
        let sitemap = Sitemap::parse(index.as_bytes());
        assert_eq!(texts(&sitemap.sitemaps), ["http://h.test/s.xml.gz"]);
        let sitemap = Sitemap::parse(b"http://h.test/a\nnothing\nhttp://h.test/b\n");
        assert_eq!(sitemap.pages.len(), 2);
        assert_eq!(Sitemap::parse(b"<html><p>Not found"), Sitemap::default());
    }
}
