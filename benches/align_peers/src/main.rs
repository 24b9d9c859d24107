//! Runs ours and peers over one folder of pages, on one thread, and prints speeds and ratios.
//!
//! ```text
//! align-peers MANIFEST.jsonl PAGES_DIR [ROUNDS [NAME...]]
//! ```
//!
//! Pages are read and decoded before any clock starts. Each round runs every program over every
//! page, one program after the other, so that whatever else the machine does meets all of them;
//! time is CPU time of the thread, and each ratio is the median over the rounds of the ratio within
//! a round.

use std::cell::Cell;
use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use html5ever::buffer_queue::BufferQueue;
use html5ever::interface::TokenizerResult;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{Token, TokenSink, TokenSinkResult, Tokenizer};
use m3w_dom_align::{Config, align};
use rustix::time::{ClockId, clock_gettime};
use url::Url;

#[path = "../../../dom_align/benches/empty_sink.rs"]
mod empty_sink;

// The step before: bytes to text. The crate of the crawler would bring its whole network with it.
#[path = "../../../crawler/src/charset.rs"]
#[expect(dead_code, reason = "only its main function is timed")]
mod charset;

/// A page as it was stored, and decoded.
struct Page {
    bytes: Vec<u8>,
    html: String,
    base: Url,
}

/// What is run over a page; the number only keeps the work from being optimised away.
type Program = fn(&Page) -> usize;

const PROGRAMS: [(&str, Program); 6] = [
    ("ours", ours),
    ("ours, charset and decoding before it", ours_charset),
    ("html5ever tokenizer", html5ever_tokenizer),
    ("html5ever empty sink", html5ever_empty_sink),
    ("scraper parse", scraper_parse),
    ("dom_smoothie", dom_smoothie),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(manifest), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: align-peers MANIFEST.jsonl PAGES_DIR [ROUNDS [NAME...]]".into());
    };
    let rounds = arguments.next().map_or(Ok(5), |rounds| rounds.parse())?;
    let names: Vec<String> = arguments.collect();
    let programs: Vec<_> = PROGRAMS
        .into_iter()
        .filter(|(name, _)| names.is_empty() || names.iter().any(|held| held == name))
        .collect();
    let pages = read_pages(Path::new(&manifest), Path::new(&folder))?;
    let bytes: usize = pages.iter().map(|page| page.html.len()).sum();
    println!("{} pages, {:.1} MB", pages.len(), bytes as f64 / 1e6);
    let mut times = vec![Vec::new(); programs.len()];
    for _ in 0..rounds {
        for ((_, program), times) in programs.iter().zip(&mut times) {
            let start = cpu_time();
            for page in &pages {
                black_box(program(black_box(page)));
            }
            times.push(cpu_time() - start);
        }
    }
    println!("| program | pages/s/core | MB/s | times ours |\n|---|---|---|---|");
    for ((name, _), own) in programs.iter().zip(&times) {
        let seconds = median(own.iter().map(Duration::as_secs_f64).collect());
        let ratios = own.iter().zip(&times[0]);
        let ratio = median(
            ratios
                .map(|(own, ours)| own.div_duration_f64(*ours))
                .collect(),
        );
        let (pages, megabytes) = (pages.len() as f64 / seconds, bytes as f64 / seconds / 1e6);
        println!("| {name} | {pages:.0} | {megabytes:.0} | {ratio:.2} |");
    }
    Ok(())
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.cast_unsigned(),
        time.tv_nsec.try_into().unwrap_or(0),
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn read_pages(manifest: &Path, folder: &Path) -> Result<Vec<Page>, Box<dyn Error>> {
    let mut pages = Vec::new();
    for line in BufReader::new(File::open(manifest)?).lines() {
        let line: serde_json::Value = serde_json::from_str(&line?)?;
        let id = line["id"]
            .as_str()
            .ok_or("a line of the manifest has no id")?;
        let base = line["base"].as_str().or(line["url"].as_str());
        let mut bytes = Vec::new();
        match File::open(folder.join(format!("{id}.html.gz"))) {
            Ok(file) => flate2::read::MultiGzDecoder::new(file).read_to_end(&mut bytes)?,
            Err(_) => File::open(folder.join(format!("{id}.html")))?.read_to_end(&mut bytes)?,
        };
        pages.push(Page {
            html: charset::decode(&bytes, None).text,
            bytes,
            base: Url::parse(base.unwrap_or_default())
                .or_else(|_| Url::parse("http://localhost/"))?,
        });
    }
    Ok(pages)
}

fn ours(page: &Page) -> usize {
    align(&page.html, &page.base, &Config::default())
        .document
        .elements
        .len()
}

fn ours_charset(page: &Page) -> usize {
    charset::decode(&page.bytes, None).text.len()
}

fn scraper_parse(page: &Page) -> usize {
    scraper::Html::parse_document(&page.html)
        .tree
        .values()
        .len()
}

fn dom_smoothie(page: &Page) -> usize {
    let base = Some(page.base.as_str());
    let article = dom_smoothie::Readability::new(page.html.as_str(), base, None)
        .and_then(|mut readability| readability.parse());
    article.map_or(0, |article| article.text_content.len())
}

/// A sink that counts tokens.
#[derive(Default)]
struct Tokens(Cell<usize>);

impl TokenSink for Tokens {
    type Handle = ();

    fn process_token(&self, _: Token, _: u64) -> TokenSinkResult<()> {
        self.0.set(self.0.get() + 1);
        TokenSinkResult::Continue
    }
}

fn html5ever_tokenizer(page: &Page) -> usize {
    let tokenizer = Tokenizer::new(Tokens::default(), Default::default());
    let queue = BufferQueue::default();
    queue.push_back(StrTendril::from_slice(&page.html));
    while !matches!(tokenizer.feed(&queue), TokenizerResult::Done) {}
    tokenizer.end();
    tokenizer.sink.0.get()
}

fn html5ever_empty_sink(page: &Page) -> usize {
    empty_sink::parse(&page.html)
}
