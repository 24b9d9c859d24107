//! Places at the ends of captions.
//!
//! A place is found by its form, and the form ends with a name that is known: a country, a state of
//! the United States, a province of Canada. What stands before it by its capitals is the town.
//! Datelines of news desks are the same at the beginning. Towns are in no list here: one would take
//! `Nice`, `Reading` and `Orange` out of captions that mean none of them, and what stands in the
//! middle of a sentence stays, since the sentence would not read on without it.

/// Countries by the names that captions use; dots left out.
const COUNTRIES: &str = "afghanistan|albania|algeria|andorra|angola|argentina|armenia|australia|\
    austria|azerbaijan|bahamas|bahrain|bangladesh|barbados|belarus|belgium|belize|benin|bhutan|\
    bolivia|bosnia|bosnia and herzegovina|botswana|brazil|brunei|bulgaria|burkina faso|burma|\
    burundi|cambodia|cameroon|canada|cape verde|central african republic|chad|chile|china|\
    colombia|congo|costa rica|croatia|cuba|cyprus|czech republic|czechia|\
    democratic republic of congo|denmark|djibouti|dominica|dominican republic|east timor|ecuador|\
    egypt|el salvador|england|eritrea|estonia|eswatini|ethiopia|fiji|finland|france|gabon|gambia|\
    georgia|germany|ghana|great britain|greece|greenland|grenada|guatemala|guinea|guinea-bissau|\
    guyana|haiti|honduras|hungary|iceland|india|indonesia|iran|iraq|ireland|israel|italy|\
    ivory coast|jamaica|japan|jordan|kazakhstan|kenya|kiribati|kosovo|kuwait|kyrgyzstan|laos|latvia|\
    lebanon|lesotho|liberia|libya|liechtenstein|lithuania|luxembourg|madagascar|malawi|malaysia|\
    maldives|mali|malta|mauritania|mauritius|mexico|micronesia|moldova|monaco|mongolia|montenegro|\
    morocco|mozambique|myanmar|namibia|nauru|nepal|netherlands|new zealand|nicaragua|niger|nigeria|\
    north korea|north macedonia|northern ireland|norway|oman|pakistan|palau|palestine|panama|\
    papua new guinea|paraguay|peru|philippines|poland|portugal|puerto rico|qatar|romania|russia|\
    rwanda|samoa|san marino|saudi arabia|scotland|senegal|serbia|seychelles|sierra leone|singapore|\
    slovakia|slovenia|solomon islands|somalia|south africa|south korea|south sudan|spain|sri lanka|\
    sudan|suriname|sweden|switzerland|syria|taiwan|tajikistan|tanzania|thailand|togo|tonga|\
    trinidad and tobago|tunisia|turkey|turkmenistan|tuvalu|uae|uganda|uk|ukraine|\
    united arab emirates|united kingdom|united states|united states of america|uruguay|us|usa|\
    uzbekistan|vanuatu|vatican city|venezuela|vietnam|wales|yemen|zambia|zimbabwe";
/// States, provinces and territories.
const STATES: &str = "alabama|alaska|arizona|arkansas|california|colorado|connecticut|delaware|\
    florida|hawaii|idaho|illinois|indiana|iowa|kansas|kentucky|louisiana|maine|maryland|\
    massachusetts|michigan|minnesota|mississippi|missouri|montana|nebraska|nevada|new hampshire|\
    new jersey|new mexico|new york|north carolina|north dakota|ohio|oklahoma|oregon|pennsylvania|\
    rhode island|south carolina|south dakota|tennessee|texas|utah|vermont|virginia|washington|\
    west virginia|wisconsin|wyoming|alberta|british columbia|manitoba|new brunswick|newfoundland|\
    nova scotia|nunavut|ontario|prince edward island|quebec|saskatchewan|yukon";
/// Their short forms as the post writes them, in capitals, and as news desks do.
const CODES: &str = "AK|AL|AR|AZ|CA|CO|CT|DC|DE|FL|GA|HI|IA|ID|IL|IN|KS|KY|LA|MA|MD|ME|MI|MN|MO|\
    MS|MT|NC|ND|NE|NH|NJ|NM|NV|NY|OH|OK|OR|PA|RI|SC|SD|TN|TX|UT|VA|VT|WA|WI|WV|WY|AB|BC|MB|NB|NL|\
    NS|ON|PE|QC|SK|Ala|Ariz|Ark|Calif|Colo|Conn|Fla|Ga|Ill|Ind|Kan|Ky|La|Md|Mass|Mich|Minn|Miss|Mo|\
    Mont|Neb|Nev|Okla|Ore|Pa|Tenn|Tex|Va|Vt|Wash|Wis|Wyo|Alta|Ont|Que|Sask";
/// Names that mean something else as well: birds, vessels, people, academic degrees. They are taken
/// for places only where a preposition, a bracket or a dateline says so.
const AMBIGUOUS: &str = "chad|chile|china|dominica|georgia|guinea|jordan|turkey|us|virginia|\
    washington|montana|AL|CO|DE|HI|IN|LA|MA|MD|ME|MI|MS|OH|OK|OR|PA|Ill|Ind|Miss|Mass|Wash|La|Ore|Que";
/// News agencies, as datelines name them.
const AGENCIES: &str = "reuters|ap|afp|efe|ansa|dpa|upi|xinhua|tass|pti|ani|kyodo|anp|apa|epa|bloomberg|\
    ap photo|associated press|thomson reuters foundation";

/// Prepositions that lead to a place at the end and say nothing without it.
const LEADS: [&str; 6] = ["in", "at", "near", "from", "outside", "around"];
/// Small words within names of towns.
const PARTICLES: [&str; 18] = [
    "de", "del", "la", "le", "les", "los", "las", "da", "do", "dos", "di", "el", "al", "am", "an",
    "der", "upon", "sur",
];
/// Words of a town's name.
const MOST_WORDS: usize = 4;
/// Words in which a dateline has to end.
const DATELINE_WORDS: usize = 10;
/// Signs that stand by themselves between a caption and its place.
const DASHES: [&str; 5] = ["-", "–", "—", "--", "|"];

/// The caption without places at its ends; never without all of its words.
pub(super) fn strip(text: &str) -> String {
    let mut text = text.to_owned();
    loop {
        let shorter = without_dateline(&text).or_else(|| without_place(&text));
        match shorter {
            Some(shorter) if has_words(&shorter) && shorter.len() < text.len() => text = shorter,
            _ => return text,
        }
    }
}

fn has_words(text: &str) -> bool {
    text.contains(char::is_alphanumeric)
}

fn is_in(list: &str, name: &str) -> bool {
    list.split('|').any(|known| known == name)
}

/// What a name is known as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Country,
    State,
}

/// Whether a name, as it stands, is that of a country or state, and whether it is nothing else.
fn known(name: &str) -> Option<(Known, bool)> {
    let name = name.strip_prefix("the ").unwrap_or(name).replace('.', "");
    if !name.starts_with(char::is_uppercase) {
        return None;
    }
    if is_in(CODES, &name) {
        return Some((Known::State, is_in(AMBIGUOUS, &name)));
    }
    // Short forms of countries are written in capitals: `us` is a word.
    let is_short = name.len() <= 3;
    if is_short && name.chars().any(char::is_lowercase) {
        return None;
    }
    let lower = name.to_lowercase();
    let is_ambiguous = is_in(AMBIGUOUS, &lower);
    if is_in(COUNTRIES, &lower) {
        Some((Known::Country, is_ambiguous))
    } else if is_in(STATES, &lower) {
        Some((Known::State, is_ambiguous))
    } else {
        None
    }
}

/// Whether these are the words of a name, by their capitals.
fn is_name(words: &str) -> bool {
    let mut count = 0;
    for word in words.split(' ') {
        count += 1;
        let is_capital = word.starts_with(char::is_uppercase);
        let is_letters = word
            .chars()
            .all(|c| c.is_alphabetic() || "-'’.".contains(c));
        if !is_letters || !(is_capital || (count > 1 && PARTICLES.contains(&word))) {
            return false;
        }
    }
    count <= MOST_WORDS
}

fn is_in_capitals(text: &str) -> bool {
    text.contains(char::is_uppercase) && !text.contains(char::is_lowercase)
}

/// What follows a dateline: `PARIS, France (Reuters) - `, `(AP) - `, `GERMANY - `.
fn without_dateline(text: &str) -> Option<String> {
    let mut start = 0;
    for word in text.split(' ').take(DATELINE_WORDS) {
        let end = start + word.len();
        let is_dash = DASHES.contains(&word);
        let head = match word.strip_suffix(':') {
            _ if is_dash => &text[..start],
            Some(_) => &text[..end - 1],
            None => {
                start = end + 1;
                continue;
            }
        };
        let rest = text.get(end..)?;
        return is_dateline(head.trim(), is_dash).then(|| rest.trim().to_owned());
    }
    None
}

fn is_dateline(head: &str, by_dash: bool) -> bool {
    let (place, agency) = match head
        .strip_suffix(')')
        .and_then(|head| head.rsplit_once('('))
    {
        Some((place, agency)) => (place.trim(), Some(agency)),
        None => (head, None),
    };
    let place = place.trim_end_matches([',', ' ']);
    let parts: Vec<&str> = place.split(", ").collect();
    if let Some(agency) = agency {
        let is_agency = is_in(AGENCIES, &agency.to_lowercase());
        let are_names = parts.len() <= 3 && parts.iter().all(|part| is_name(part));
        return is_agency && by_dash && (place.is_empty() || are_names);
    }
    let Some((last, before)) = parts.split_last() else {
        return false;
    };
    match known(last) {
        // A country alone is a dateline only in capitals: `Turkey - how to roast it`.
        Some((Known::Country, _)) if before.is_empty() => {
            by_dash && is_in_capitals(last) && last.len() > 3
        }
        Some((_, is_ambiguous)) => {
            let is_loud = before.iter().all(|part| is_in_capitals(part));
            let are_names = before.len() <= 2 && before.iter().all(|part| is_name(part));
            !before.is_empty() && are_names && (is_loud || !is_ambiguous)
        }
        None => false,
    }
}

/// What stands before a place at the end: `... in Marrakech, Morocco`, `..., Austin, TX`,
/// `... (Turin, Italy)`, `... in Germany`.
fn without_place(text: &str) -> Option<String> {
    let body = text.trim_end_matches([' ', ',', ';', ':', '-', '–', '—', '|']);
    // A dot is the sentence's, or that of a short form: the name is looked up without any.
    let (body, dot) = match body.strip_suffix('.') {
        Some(body) => {
            let last = body.rsplit(' ').next().unwrap_or_default();
            let is_of_name = last.contains('.') || is_in(CODES, last);
            (body, if is_of_name { "" } else { "." })
        }
        None => (body, ""),
    };
    let kept = kept(body)?;
    let kept = kept.trim_end_matches([' ', ',', ';', ':', '-', '–', '—', '|']);
    Some(format!("{kept}{dot}"))
}

fn kept(body: &str) -> Option<&str> {
    if let Some((before, place)) = body
        .strip_suffix(')')
        .and_then(|body| body.rsplit_once('('))
    {
        return is_place(place.trim()).then_some(before);
    }
    let (mut before, last) = match body.rsplit_once(", ") {
        Some((before, last)) if known(last).is_some() => (before, last),
        _ => return kept_before_name(body),
    };
    let (_, mut is_ambiguous) = known(last)?;
    // `Portland, Oregon, USA`
    if let Some((further, state)) = before.rsplit_once(", ")
        && let Some((Known::State, _)) = known(state)
    {
        before = further;
        is_ambiguous = false;
    }
    let (town_start, lead) = town(before);
    let is_town = is_name(&before[town_start..]);
    match lead {
        Lead::Preposition(start) if is_town => Some(&before[..start]),
        Lead::Sign(start) if is_town && !is_ambiguous => Some(&before[..start]),
        // What stands before is no town, or nobody can tell where it begins: the country alone.
        Lead::Word | Lead::Sign(_) | Lead::Preposition(_)
            if !is_ambiguous && known(last)?.0 == Known::Country =>
        {
            body.rsplit_once(", ").map(|(before, _)| before)
        }
        _ => None,
    }
}

/// What stands before a town.
enum Lead {
    /// A preposition, which begins here.
    Preposition(usize),
    /// A comma or a dash, which begins here.
    Sign(usize),
    /// Another word.
    Word,
    /// Nothing.
    Start,
}

/// Where the capitalised words at the end of a text begin, and what leads to them.
fn town(text: &str) -> (usize, Lead) {
    let mut start = text.len();
    for (words, word) in text.rsplit(' ').enumerate() {
        let word_start = start.saturating_sub(word.len() + usize::from(words > 0));
        if DASHES.contains(&word) {
            return (start, Lead::Sign(word_start));
        }
        if words > 0 && word.ends_with(',') {
            return (start, Lead::Sign(word_start + word.len() - 1));
        }
        if words > 0 && LEADS.contains(&word) {
            return (start, Lead::Preposition(word_start));
        }
        if words > 0 && word == "the" {
            let before = text[..word_start].trim_end();
            let lead = before.rsplit(' ').next().unwrap_or_default();
            if LEADS.contains(&lead) {
                return (start, Lead::Preposition(before.len() - lead.len()));
            }
        }
        let is_capital = word.starts_with(char::is_uppercase);
        if !is_capital && !PARTICLES.contains(&word) {
            return (start, Lead::Word);
        }
        start = word_start;
    }
    (0, Lead::Start)
}

/// The same where there is no comma before the name: `a castle in Germany`, `A castle - Germany`.
fn kept_before_name(body: &str) -> Option<&str> {
    // Names have up to five words.
    let spaces = body.rmatch_indices(' ').take(6);
    for (space, _) in spaces {
        let name = &body[space + 1..];
        let Some((kind, is_ambiguous)) = known(name) else {
            continue;
        };
        let before = body[..space].trim_end();
        let word = before.rsplit(' ').next().unwrap_or_default();
        let (before, word) = match (word, before.rsplit_once(' ')) {
            ("the", Some((before, _))) => (before, before.rsplit(' ').next().unwrap_or_default()),
            _ => (before, word),
        };
        let is_short = kind == Known::State && name.len() <= 5;
        if LEADS.contains(&word) && !is_short {
            let kept = &before[..before.len() - word.len()];
            // Not where it is, but where it comes from.
            let is_made = kept.trim_end().to_lowercase().ends_with("made");
            return (!is_made).then_some(kept);
        }
        if DASHES.contains(&word) && !is_ambiguous && !is_short {
            return Some(&before[..before.len() - word.len()]);
        }
    }
    None
}

/// Whether words in brackets are a place and nothing else.
fn is_place(words: &str) -> bool {
    let parts: Vec<&str> = words.split(", ").collect();
    let Some((last, before)) = parts.split_last() else {
        return false;
    };
    let Some((_, is_ambiguous)) = known(last) else {
        return false;
    };
    let are_names = before.iter().all(|part| is_name(part));
    are_names && before.len() <= 3 && !(before.is_empty() && is_ambiguous)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn datelines_go_and_what_they_head_stays() {
        for (caption, expected) in [
            (
                "PARIS, France - A man feeds the birds",
                "A man feeds the birds",
            ),
            ("LONDON, ENGLAND — A bus in the rain", "A bus in the rain"),
            ("Lyon, France: the old bridge", "the old bridge"),
            (
                "KYIV (Reuters) - A kite over the roofs",
                "A kite over the roofs",
            ),
            ("Rio de Janeiro, Brazil (AFP) - Dancers", "Dancers"),
            (
                "(AP) - Fishermen mend their nets",
                "Fishermen mend their nets",
            ),
            (
                "GERMANY - A castle above the river",
                "A castle above the river",
            ),
            (
                "AUSTIN, Texas - Bats leave the bridge",
                "Bats leave the bridge",
            ),
        ] {
            assert_eq!(strip(caption), expected, "{caption}");
        }
    }

    #[test]
    fn places_at_the_end_go_with_what_leads_to_them() {
        for (caption, expected) in [
            ("A market in Marrakech, Morocco.", "A market."),
            (
                "Notre Dame Cathedral, Paris, France",
                "Notre Dame Cathedral",
            ),
            ("Bats under a bridge - Austin, TX", "Bats under a bridge"),
            ("A rose garden in Portland, Oregon, USA", "A rose garden"),
            (
                "Sheep on a hill in the Lake District, England",
                "Sheep on a hill",
            ),
            ("A castle in Germany", "A castle"),
            ("A tram (Turin, Italy)", "A tram"),
            ("A beach at sunset, Phuket, Thailand", "A beach at sunset"),
            (
                "Ferry leaving Stanley Park near Vancouver, B.C.",
                "Ferry leaving Stanley Park",
            ),
            ("A mosque in Istanbul, Turkey", "A mosque"),
            ("Cable car in Rio de Janeiro, Brazil", "Cable car"),
            ("A plate of rice, Vietnam", "A plate of rice"),
            ("Skyline at night in the United States", "Skyline at night"),
        ] {
            assert_eq!(strip(caption), expected, "{caption}");
        }
    }

    #[test]
    fn what_only_looks_like_a_place_stays() {
        for caption in [
            "SALE - shoes for the winter",
            "BMW - the new model",
            "Turkey - how to roast it",
            "Ham, Cheese, Turkey",
            "Roast Turkey",
            "A nice cup and a good book for reading",
            "John Smith, MD",
            "A portrait of Michael Jordan",
            "Made in China",
            "A view of Paris, and of the river",
            "Paris, France",
            "In France",
            "He told us",
            "The road to Morocco is long and dry",
            "Kite (red) - a toy",
            "A man in Washington state colours",
            "",
        ] {
            assert_eq!(strip(caption), caption, "{caption}");
        }
    }

    fn word() -> impl Strategy<Value = String> {
        let known = prop::sample::select(vec![
            "in", "the", "Paris,", "France", "Texas", "TX", "USA", "-", "(AP)", "(Turin,",
            "Italy)", "Turkey", "GERMANY", "a", "kite", "Kite", "of", ",", "U.S.", "New", "York",
            "York:", "—", ".", "France.", "é,", "from", "made", "(", ")",
        ]);
        prop_oneof![known.prop_map(str::to_owned), "\\PC{0,6}"]
    }

    proptest! {
        #[test]
        fn some_of_every_caption_stays_and_nothing_is_left_for_a_second_time(
            words in prop::collection::vec(word(), 0..10)
        ) {
            let text = words.join(" ");
            let stripped = strip(&text);
            prop_assert_eq!(has_words(&stripped), has_words(&text), "{} -> {}", text, stripped);
            prop_assert_eq!(&strip(&stripped), &stripped, "{}", text);
            prop_assert!(stripped.len() <= text.len());
        }
    }
}
