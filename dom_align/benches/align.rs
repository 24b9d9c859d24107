//! Pages to documents, beside html5ever's own parse of them into an empty sink.
//!
//! ```text
//! [M3W_PAGES=DIR] cargo bench -p m3w-dom-align --bench align
//! ```
//!
//! The pages are those of the tests, or the `.html` files of a folder that the variable names. All
//! are read once a sample, on one thread. `benches/align_peers.sh` compares with other programs.

use std::path::Path;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use m3w_dom_align::{Config, Mode, align};
use url::Url;

#[path = "empty_sink.rs"]
mod empty_sink;

fn main() {
    divan::main();
}

fn pages() -> Vec<String> {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages");
    let folder = std::env::var_os("M3W_PAGES").map_or_else(own, Into::into);
    let entries = std::fs::read_dir(folder).expect("a folder of pages");
    let paths = entries.map(|entry| entry.expect("an entry that can be read").path());
    paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "html")
        })
        .map(|path| {
            let bytes = std::fs::read(path).expect("a page that can be read");
            String::from_utf8_lossy(&bytes).into_owned()
        })
        .collect()
}

fn bench<T>(bencher: Bencher, read: impl Fn(&str) -> T) {
    let pages = pages();
    bencher
        .counter(ItemsCount::new(pages.len()))
        .counter(BytesCount::new(
            pages.iter().map(String::len).sum::<usize>(),
        ))
        .bench_local(|| {
            for page in &pages {
                black_box(read(black_box(page)));
            }
        });
}

#[divan::bench]
fn html5ever_empty_sink(bencher: Bencher) {
    bench(bencher, empty_sink::parse);
}

#[divan::bench(args = [Mode::Main, Mode::Everything])]
fn ours(bencher: Bencher, mode: Mode) {
    let url = Url::parse("https://example.org/folder/page.html").expect("a URL");
    let config = Config {
        mode,
        ..Config::default()
    };
    bench(bencher, |page| align(page, &url, &config));
}
