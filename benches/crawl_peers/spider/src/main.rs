//! What the crate `spider` does with a site: fetches its pages, finds their links, stores both.
//!
//!     spider-peer START LIMIT OUT
//!
//! Follows links from START on its host, up to LIMIT pages; OUT gets the URL of each on a line, and
//! OUT.html the pages.

use std::error::Error;

use spider::website::Website;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: spider-peer START LIMIT OUT");
    let (start, limit, out) = (next()?, next()?.parse()?, next()?);
    let mut website = Website::new(&start);
    website
        .with_limit(limit)
        .with_delay(0)
        .with_concurrency_limit(Some(32))
        .with_respect_robots_txt(true)
        .with_user_agent(Some("spider-peer"));
    let mut pages = website.subscribe(4096);
    let writer = tokio::spawn(async move {
        let html = format!("{out}.html");
        let mut urls = BufWriter::new(File::create(out).await?);
        let mut bodies = BufWriter::new(File::create(html).await?);
        while let Ok(page) = pages.recv().await {
            urls.write_all(page.get_url().as_bytes()).await?;
            urls.write_all(b"\n").await?;
            bodies.write_all(page.get_html_bytes_u8()).await?;
        }
        urls.flush().await?;
        bodies.flush().await
    });
    website.crawl().await;
    website.unsubscribe();
    drop(website);
    writer.await??;
    Ok(())
}
