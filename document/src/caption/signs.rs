//! URLs and hashtags in captions.

/// How a URL begins that people paste into captions.
const URL_STARTS: [&str; 4] = ["http://", "https://", "ftp://", "www."];

/// Text without URLs; the sign that ends a sentence after one stays.
pub(super) fn strip_urls(text: &str) -> String {
    replace_words(text, |word| {
        let lower = word.to_ascii_lowercase();
        let start = URL_STARTS
            .iter()
            .filter_map(|start| lower.find(start))
            .min()?;
        // `www.` inside a word is none: `awww.`
        if lower[start..].starts_with("www.")
            && lower[..start].ends_with(|c: char| c.is_alphanumeric())
        {
            return None;
        }
        let end = word
            .trim_end_matches([',', ';', '.', '!', '?', ')', ']'])
            .len();
        Some((start, end.max(start)))
    })
}

/// Text without `#tags`. A number after the sign is no tag, nor is a sign within a word.
pub(super) fn strip_hashtags(text: &str) -> String {
    replace_words(text, |word| {
        let start = word.find('#')?;
        let tag = word[start..].trim_start_matches('#');
        let length = tag
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '#'))
            .unwrap_or(tag.len());
        let is_tag = tag[..length].contains(|c: char| c.is_alphabetic());
        let is_start = !word[..start].ends_with(|c: char| c.is_alphanumeric() || c == '&');
        let end = word.len() - tag.len() + length;
        (is_tag && is_start).then_some((start, end))
    })
}

/// The text with the bytes of each word left out that `find` names.
fn replace_words(text: &str, find: impl Fn(&str) -> Option<(usize, usize)>) -> String {
    let mut kept = String::with_capacity(text.len());
    for (number, word) in text.split(' ').enumerate() {
        if number > 0 {
            kept.push(' ');
        }
        match find(word) {
            Some((start, end)) => {
                kept.push_str(&word[..start]);
                kept.push_str(&word[end..]);
            }
            None => kept.push_str(word),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_go_to_their_end() {
        for (text, expected) in [
            ("see http://a.test/b?c=d. Now", "see . Now"),
            ("(HTTPS://a.test) or www.b.test", "() or "),
            ("awww. so sweet", "awww. so sweet"),
            ("http is a protocol", "http is a protocol"),
        ] {
            assert_eq!(strip_urls(text), expected, "{text}");
        }
    }

    #[test]
    fn tags_go_and_numbers_stay() {
        for (text, expected) in [
            ("#sunset at the #Meer_2019!", " at the !"),
            ("#1 of C# and a#b", "#1 of C# and a#b"),
            ("#eins#zwei", ""),
            ("&#39; ##", "&#39; ##"),
        ] {
            assert_eq!(strip_hashtags(text), expected, "{text}");
        }
    }
}
