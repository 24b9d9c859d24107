//! Other thresholds, tried on what is stored.

use m3w::corpus::Corpus;
use m3w::document::Tally;
use m3w::repair::run_of;
use m3w::what_if::{NOT_ASKED, NOT_FETCHED, NOT_STORED, what_if, with_filters};

use super::site::{Site, run};

/// Counts of pages and images, without those of content and training rows.
fn funnel(tally: &Tally) -> Vec<(String, u64)> {
    ["page", "image"]
        .into_iter()
        .flat_map(|step| tally.step(step))
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

#[test]
fn stricter_thresholds_leave_what_a_build_with_them_leaves() {
    let site = Site::start();
    let lenient = site.options("lenient", 2);
    let manifest = run(&lenient);
    let found = run_of(&Corpus::at(&lenient.out)).unwrap();
    let settings = [
        "filter.text.min_words=200",
        "filter.text.max_short_lines=0.6",
        "filter.image.min_side_px=200",
        "filter.min_images=2",
    ];
    let unchanged = with_filters(&found.config, None, &[]).unwrap();
    let same = what_if(&lenient.out, &manifest, &found, &unchanged).unwrap();
    assert_eq!(funnel(&same.before), funnel(&manifest.tally));
    assert_eq!(funnel(&same.after), funnel(&manifest.tally));

    let filter = with_filters(&found.config, None, &settings.map(str::to_owned)).unwrap();
    let told = what_if(&lenient.out, &manifest, &found, &filter).unwrap();
    let mut strict = site.options("strict", 2);
    strict.config.filter = filter.clone();
    let built = run(&strict);
    let pages = |tally: &Tally| -> Vec<(String, u64)> {
        funnel(tally)
            .into_iter()
            .filter(|(name, _)| name.starts_with("page/") || name == "image/kept")
            .collect()
    };
    assert_eq!(pages(&told.after), pages(&built.tally));
    assert_ne!(pages(&told.after), pages(&told.before));

    // The other way round nobody knows what images the pages have that were dropped for their text.
    let strict_run = run_of(&Corpus::at(&strict.out)).unwrap();
    let lenient_again = what_if(&strict.out, &built, &strict_run, &found.config.filter).unwrap();
    let unknown = lenient_again.after.get(&format!("page/{NOT_FETCHED}"));
    let dropped_for_text: u64 = ["page/filter/too-few-words", "page/filter/short-lines"]
        .into_iter()
        .map(|name| built.tally.get(name))
        .sum();
    assert_eq!(unknown, dropped_for_text);
    assert!(unknown > 0);
    // Nor are the images stored of those that had one where two were asked for.
    let few = "page/filter/too-few-images";
    let unstored = lenient_again.after.get(&format!("page/{NOT_STORED}"));
    assert!(unstored > 0);
    assert_eq!(
        unstored + lenient_again.after.get(few),
        built.tally.get(few)
    );
    let unasked = lenient_again.after.get(&format!("image/{NOT_ASKED}"));
    assert!(unasked <= built.tally.get("image/filter/too-small"));
}
