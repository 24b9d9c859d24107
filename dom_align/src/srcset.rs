//! `srcset` attributes, read by the algorithm of the HTML standard.
//!
//! Source: HTML standard, "Parse a srcset attribute" and "Normalize the source densities". A comma
//! may stand inside a URL (image services put their transforms there), so splitting at commas loses
//! pictures: a comma ends a candidate only after white space, at a URL's end, or after the
//! descriptors, and never inside parentheses.

/// One picture of a `srcset`.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The URL as written.
    pub url: String,
    /// What the page says of the picture's size.
    pub descriptor: Descriptor,
}

/// What a `srcset` says of a candidate's size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Descriptor {
    /// Pixels of the picture for each CSS pixel (`2x`); 1 where nothing is said.
    Density(f64),
    /// Width of the picture in pixels (`640w`).
    Width(u32),
}

/// What [`pick`] looks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// The picture for a display of this density, as a browser without layout would choose.
    Density(f64),
    /// The smallest picture of at least this width in pixels.
    Width(u32),
}

/// The candidates of a `srcset`, in the order of the attribute, without those in error.
#[must_use]
pub fn parse(srcset: &str) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let mut rest = srcset;
    loop {
        rest = rest.trim_start_matches(|c: char| is_space(c) || c == ',');
        if rest.is_empty() {
            return candidates;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        let (url, after) = rest.split_at(end);
        let bare = url.trim_end_matches(',');
        let descriptors;
        if bare.len() < url.len() {
            descriptors = Vec::new();
            rest = after;
        } else {
            (descriptors, rest) = split_descriptors(after);
        }
        if let Some(descriptor) = read_descriptors(&descriptors) {
            candidates.push(Candidate {
                url: bare.to_owned(),
                descriptor,
            });
        }
    }
}

/// The candidate that suits the target, if there is one.
///
/// For a density, candidates with a width count as if the picture filled a viewport of one pixel
/// for each unit, which is what the standard does for `sizes="1px"`; of equals the first wins. For
/// a width, the narrowest candidate that is wide enough, or else the widest; candidates without a
/// width are measured by their density against a picture of half the target.
#[must_use]
pub fn pick(candidates: &[Candidate], target: Target) -> Option<&Candidate> {
    let (wanted, size): (f64, fn(Descriptor, f64) -> f64) = match target {
        Target::Density(density) => (density, |descriptor, _| match descriptor {
            Descriptor::Density(density) => density,
            Descriptor::Width(width) => f64::from(width),
        }),
        Target::Width(width) => (f64::from(width), |descriptor, wanted| match descriptor {
            Descriptor::Density(density) => density * wanted / 2.0,
            Descriptor::Width(width) => f64::from(width),
        }),
    };
    let mut best: Option<(&Candidate, f64)> = None;
    for candidate in candidates {
        let size = size(candidate.descriptor, wanted);
        let is_better = match best {
            None => true,
            Some((_, held)) if held < wanted => size > held,
            Some((_, held)) => size >= wanted && size < held,
        };
        if is_better {
            best = Some((candidate, size));
        }
    }
    best.map(|(candidate, _)| candidate)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0c' | '\r')
}

/// The descriptors of one candidate, and the attribute's text after it.
fn split_descriptors(text: &str) -> (Vec<&str>, &str) {
    let mut descriptors = Vec::new();
    let mut start = None;
    let mut is_in_parentheses = false;
    for (index, c) in text.char_indices() {
        if is_in_parentheses {
            is_in_parentheses = c != ')';
            continue;
        }
        if is_space(c) || c == ',' {
            if let Some(start) = start.take() {
                descriptors.push(&text[start..index]);
            }
            if c == ',' {
                return (descriptors, &text[index + 1..]);
            }
            continue;
        }
        start.get_or_insert(index);
        is_in_parentheses = c == '(';
    }
    if let Some(start) = start {
        descriptors.push(&text[start..]);
    }
    (descriptors, "")
}

/// The size that the descriptors state, or `None` where they are in error.
fn read_descriptors(descriptors: &[&str]) -> Option<Descriptor> {
    let (mut width, mut height, mut density) = (None, None, None);
    for descriptor in descriptors {
        let unit = descriptor.chars().next_back()?;
        let number = &descriptor[..descriptor.len() - unit.len_utf8()];
        match unit {
            'w' if width.is_none() && density.is_none() => width = Some(natural(number)?),
            'h' if height.is_none() && density.is_none() => height = Some(natural(number)?),
            'x' if width.is_none() && height.is_none() && density.is_none() => {
                density = Some(real(number)?);
            }
            _ => return None,
        }
    }
    match (width, height) {
        (Some(width), _) => Some(Descriptor::Width(width)),
        // A height is only allowed beside a width.
        (None, Some(_)) => None,
        (None, None) => Some(Descriptor::Density(density.unwrap_or(1.0))),
    }
}

/// A "valid non-negative integer" of the standard, other than zero.
fn natural(text: &str) -> Option<u32> {
    let is_natural = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_natural
        .then(|| text.parse().ok())
        .flatten()
        .filter(|number| *number > 0)
}

/// A "valid floating-point number" of the standard that is not below zero.
fn real(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_real = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && !digits.ends_with('.')
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'));
    let number: f64 = is_real.then(|| text.parse().ok()).flatten()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(srcset: &str) -> Vec<String> {
        parse(srcset)
            .into_iter()
            .map(|candidate| candidate.url)
            .collect()
    }

    #[test]
    fn a_comma_inside_a_url_does_not_split_it() {
        assert_eq!(
            urls("https://a.test/w_100,h_50/x.jpg 1x, /b.png,/c.png 2x"),
            ["https://a.test/w_100,h_50/x.jpg", "/b.png,/c.png"]
        );
        assert_eq!(urls("a.png, b.png"), ["a.png", "b.png"]);
        assert_eq!(urls("a.png,"), ["a.png"]);
    }

    #[test]
    fn candidates_in_error_are_left_out() {
        assert_eq!(
            urls("a 1x 1x, b 1h, c -1x, d 0w, e 1e3w, f 1w 1x, g +1x, h 5x"),
            ["h"]
        );
        assert_eq!(
            urls("a 1w 2h, b -0x, c 1E0x, d (1x, ), e"),
            ["a", "b", "c", "e"]
        );
    }

    #[test]
    fn the_narrowest_candidate_that_is_wide_enough_is_picked() {
        let candidates = parse("a 1280w, b 320w, c 640w");
        let picked = |width| &pick(&candidates, Target::Width(width)).unwrap().url;
        assert_eq!(picked(600), "c");
        assert_eq!(picked(640), "c");
        assert_eq!(picked(2000), "a");
        assert_eq!(pick(&[], Target::Width(1)), None);
    }

    #[test]
    fn the_first_of_equal_densities_is_picked() {
        let candidates = parse("a 1x, b, c 2x");
        assert_eq!(pick(&candidates, Target::Density(1.0)).unwrap().url, "a");
        assert_eq!(pick(&candidates, Target::Density(1.5)).unwrap().url, "c");
        assert_eq!(pick(&candidates, Target::Density(3.0)).unwrap().url, "c");
    }
}
