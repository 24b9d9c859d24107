//! Words that a user lists, by language: those that flag a text, and those of spam.
//!
//! None is part of this program: which words they are is a judgement of whoever makes a corpus. What is
//! measured is OBELICS' (Laurençon et al. 2023, appendix A): the share of words that are listed,
//! words being those of [`super::obelics`].

use std::collections::HashSet;

use super::obelics::bare_words;
use super::quality::share;
use crate::language;

/// The lists. Memory is some 60 bytes for each word.
#[derive(Debug, Clone, Default)]
pub struct WordLists {
    /// For the score `flagged_words`.
    pub flagged: WordList,
    /// For the score `spam_words`.
    pub spam: WordList,
}

impl WordLists {
    /// The scores of a text in this language, by name, of those that there are lists for.
    pub fn scores(
        &self,
        text: &str,
        language: Option<&str>,
    ) -> impl Iterator<Item = (&'static str, f64)> {
        [("flagged_words", &self.flagged), ("spam_words", &self.spam)]
            .into_iter()
            .filter_map(move |(name, list)| Some((name, list.share(text, language)?)))
    }
}

/// Words of some languages.
#[derive(Debug, Clone, Default)]
pub struct WordList(Vec<(String, HashSet<String>)>);

impl WordList {
    /// Adds the words of a language, a BCP 47 tag; `en` stands for `en-US` and all others of English.
    /// Case does not matter, nor do marks at their ends.
    ///
    /// # Errors
    ///
    /// The first that is not one word.
    pub fn add<'w>(
        &mut self,
        language: &str,
        words: impl IntoIterator<Item = &'w str>,
    ) -> Result<(), &'w str> {
        let mut listed = HashSet::new();
        for line in words {
            let mut words = Vec::new();
            bare_words(line, |word| words.push(word.to_owned()));
            match (words.pop(), words.is_empty()) {
                (Some(word), true) => listed.insert(word),
                _ => return Err(line),
            };
        }
        self.0.push((language.to_owned(), listed));
        Ok(())
    }

    /// The share of a text's words that are listed; none where there is no list for its language.
    #[must_use]
    pub fn share(&self, text: &str, language: Option<&str>) -> Option<f64> {
        let language = language?;
        let is_of = |(tag, _): &&(String, HashSet<String>)| language::is_within(language, tag);
        let (_, listed) = self.0.iter().find(is_of)?;
        let (mut found, mut all) = (0, 0);
        bare_words(text, |word| {
            all += 1;
            found += usize::from(listed.contains(word));
        });
        Some(share(found, all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_any_case_and_only_in_their_language() {
        let mut list = WordList::default();
        list.add("en", ["Heck", "darn!", "ÜBEL"]).unwrap();
        let text = "Oh, HECK: (darn) it is übel, heckler";
        assert_eq!(list.share(text, Some("en-GB")), Some(3.0 / 7.0));
        assert_eq!(list.share(text, Some("de")), None);
        assert_eq!(list.share(text, None), None);
        assert_eq!(list.share("", Some("en")), Some(0.0));
    }

    #[test]
    fn what_is_not_one_word_is_named() {
        let mut list = WordList::default();
        assert_eq!(
            list.add("en", ["heck", "what the heck"]),
            Err("what the heck")
        );
        assert_eq!(list.add("en", ["12"]), Err("12"));
    }
}
