//! The digest of a document: what tells whether a row is still what was once written.

use sha2::Digest;

use crate::{ConsentSignal, Document, Element, Image, Media, Sha256};

impl Document<Image> {
    /// SHA-256 over everything that a row of this document says. Of its pictures it takes what is
    /// known of them, their hashes among it, and not the bytes: two documents with one digest are
    /// the same if each picture has the hash [`Image::sha256_stored`].
    ///
    /// The digest stands in lists of outcomes, so it must not change: a value that documents get
    /// in the future is added only where it is set.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        let mut fields = Fields::default();
        fields.text(&self.id.to_string());
        fields.text(self.url.as_str());
        fields.text(self.final_url.as_str());
        fields.optional_number(self.fetched_at.map(i64::cast_unsigned));
        fields.optional_text(self.language.as_deref());
        fields.optional_text(self.title.as_deref());
        fields.number(self.elements.len() as u64);
        for element in &self.elements {
            match element {
                Element::Text(text) => {
                    fields.text(text.role.as_str());
                    fields.text(&text.content);
                }
                Element::Image(image) => fields.image(image),
            }
        }
        fields.number(self.scores.len() as u64);
        for (name, value) in &self.scores {
            fields.text(name);
            fields.number(value.to_bits());
        }
        fields.consent(&self.consent);
        fields.number(u64::from(self.warc.is_some()));
        if let Some(warc) = &self.warc {
            fields.text(&warc.file);
            fields.number(warc.offset);
            fields.number(warc.length);
        }
        Sha256(fields.0.finalize().into())
    }
}

/// Values one after another, each with its length, so that no two lists of values look alike.
#[derive(Default)]
struct Fields(sha2::Sha256);

impl Fields {
    fn number(&mut self, value: u64) {
        self.0.update(value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text);
    }

    fn optional_text(&mut self, text: Option<&str>) {
        self.number(u64::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn optional_number(&mut self, value: Option<u64>) {
        self.number(u64::from(value.is_some()));
        if let Some(value) = value {
            self.number(value);
        }
    }

    fn consent(&mut self, signals: &[ConsentSignal]) {
        self.number(signals.len() as u64);
        for signal in signals {
            self.text(&signal.channel);
            self.text(&signal.value);
        }
    }

    fn image(&mut self, image: &Image) {
        let reference = &image.reference;
        // No role of a text has this name.
        self.text("image");
        self.text(reference.url.as_str());
        self.number(reference.alternatives.len() as u64);
        for url in &reference.alternatives {
            self.text(url.as_str());
        }
        self.optional_text(reference.alt.as_deref());
        self.optional_text(reference.title.as_deref());
        self.optional_text(reference.caption.as_deref());
        self.optional_number(reference.declared_width_px.map(u64::from));
        self.optional_number(reference.declared_height_px.map(u64::from));
        self.optional_text(reference.link.as_ref().map(url::Url::as_str));
        match &reference.media {
            Media::Image => self.text("image"),
            Media::Animation => self.text("animation"),
            Media::Video { source } => {
                self.text("video");
                self.optional_text(source.as_ref().map(url::Url::as_str));
            }
            Media::Frame { source } => {
                self.text("frame");
                self.text(source.as_str());
            }
        }
        self.text(image.format.as_str());
        for pixels in [
            image.width_px,
            image.height_px,
            image.fetched_width_px,
            image.fetched_height_px,
        ] {
            self.number(pixels.into());
        }
        self.0.update(image.sha256_fetched.0);
        self.0.update(image.sha256_stored.0);
        self.number(image.dhash);
        self.consent(&image.consent);
        if let Some(format) = image.fetched_format {
            self.text(format.as_str());
        }
        for (name, value) in &image.scores {
            self.text(name);
            self.number(value.to_bits());
        }
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::{Text, TextRole};

    #[test]
    fn any_change_of_a_document_changes_its_digest() {
        let url = Url::parse("https://example.org/").unwrap();
        let mut document = Document::<Image>::new(url.clone());
        document.elements = vec![
            Element::Text(Text::paragraph("ab")),
            Element::Text(Text::paragraph("c")),
        ];
        let digest = document.digest();
        assert_eq!(document.clone().digest(), digest);
        let changes: [fn(&mut Document<Image>); 6] = [
            |document| document.fetched_at = Some(0),
            |document| document.title = Some(String::new()),
            |document| document.elements.truncate(1),
            |document| {
                document.elements[1] = Element::Text(Text::new(TextRole::Heading, "c"));
            },
            // The same letters, divided elsewhere.
            |document| {
                document.elements = vec![
                    Element::Text(Text::paragraph("a")),
                    Element::Text(Text::paragraph("bc")),
                ];
            },
            |document| {
                document.scores.insert("text/words".to_owned(), -0.0);
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = document.clone();
            change(&mut changed);
            assert_ne!(changed.digest(), digest, "change {number}");
        }
    }
}
