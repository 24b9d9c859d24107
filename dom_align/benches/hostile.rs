//! Pages made to be slow, each as large as a page may be: `cargo bench -p m3w-dom-align --bench hostile`.
//!
//! Prints the time and, as `max alloc`, the memory at the peak, the page not counted. Every page must
//! be read or given up within 2 s, with less than 40 times its bytes.

use divan::{AllocProfiler, Bencher, black_box};
use m3w_dom_align::{Config, align};
use url::Url;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Start of the page and what is repeated behind it up to the size bound; `#` in it becomes a
/// number that counts up.
const PAGES: [(&str, &str, &str); 40] = [
    ("nested divs", "", "<div>"),
    ("nested divs with text", "", "<div>a"),
    ("nested spans", "", "<span>"),
    ("closed divs", "", "<div></div>"),
    ("unclosed formatting", "", "<p><b><i><u><s><em><tt>a"),
    ("different formatting", "", "<b id=#><p>"),
    ("adoption agency", "", "<b><p><i><p></b></i>"),
    ("adoption agency, deep", "", "<a><p><b><div></a></b>a"),
    ("links in links", "", "<a href=#>a"),
    ("formatting in links", "", "<a><b><a>"),
    ("nobr in nobr", "", "<nobr><p>"),
    ("paragraphs in buttons", "", "<button><p>"),
    ("foster parenting", "<table>", "a<b>c"),
    ("foster parenting, nested", "", "<table><b>a<table>"),
    ("tables", "", "<table><tr><td>"),
    ("cells", "<table><tr>", "<td>a"),
    ("rows of paragraphs", "<table>", "<tr><td><p>a"),
    ("options", "<select>", "<option>a"),
    ("list items", "<ul>", "<li>a<ul>"),
    ("forms", "", "<form><p></form>"),
    ("templates", "", "<template>"),
    ("templates with rows", "", "<template><tr>"),
    ("framesets", "", "<frameset>"),
    ("svg", "", "<svg><desc><p>"),
    ("svg break-out", "", "<svg><g><p>"),
    ("mathml", "", "<math><mi><p><annotation-xml>"),
    ("many attributes", "<p", " a#"),
    (
        "many attributes, images",
        "",
        "<img data-a# data-b# data-c# src=#.jpg>",
    ),
    ("many tag names", "", "<long-name-#>"),
    ("many tag names, closed", "", "<long-name-#></long-name-#>"),
    ("unknown ends in spans", SPANS, "</x>"),
    ("unknown ends in divs", DIVS, "</ul>"),
    ("ends of formatting in divs", DIVS, "</b>"),
    ("paragraphs in divs", DIVS, "<p></p>"),
    ("items in spans", SPANS, "<li></li>"),
    ("references", "", "&notindotnot;&ampx&#1;&"),
    ("images", "<div>", "<img src=/#.jpg>"),
    (
        "captions",
        "<figure>",
        "<img src=#><figcaption>a</figcaption>",
    ),
    ("comments", "", "<!--<!-- -->"),
    ("scripts", "", "<script><!--<script></script>"),
];

const DIVS: &str = "DIVS";
const SPANS: &str = "SPANS";

fn page(start: &str, repeated: &str) -> String {
    let max_bytes = Config::default().max_page_bytes;
    let mut page = String::with_capacity(max_bytes + repeated.len());
    // As deep as elements may stand.
    page.push_str(&match start {
        DIVS => "<div>".repeat(500),
        SPANS => "<span>".repeat(500),
        start => start.to_owned(),
    });
    for number in 0_u32.. {
        if page.len() >= max_bytes {
            break;
        }
        if repeated.contains('#') && !repeated.contains("&#") {
            page.push_str(&repeated.replace('#', &number.to_string()));
        } else {
            page.push_str(repeated);
        }
    }
    page.truncate(max_bytes);
    page
}

#[divan::bench(args = PAGES.map(|(name, ..)| name), sample_count = 3, sample_size = 1)]
fn hostile(bencher: Bencher, name: &str) {
    let (_, start, repeated) = PAGES
        .into_iter()
        .find(|(held, ..)| *held == name)
        .expect("a page of the list");
    let (html, config) = (page(start, repeated), Config::default());
    let url = Url::parse("https://example.org/").expect("a URL");
    bencher
        .counter(divan::counter::BytesCount::of_str(&html))
        .bench(|| align(black_box(&html), &url, &config));
}
