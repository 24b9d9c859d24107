//! A server of any number of pictures on the loopback address, each told by its number.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The server; it runs until the program ends.
pub(super) struct PictureServer {
    pub(super) root: String,
    asked: Arc<AtomicU64>,
}

impl PictureServer {
    /// Serves `/picture/N` and `/again/N` (the same picture), `/small/N`, `/text/N` (no picture)
    /// and `/gone/N` (410); anything else is 404.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let root = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                // A client that hangs up early is its own affair.
                std::thread::spawn(move || serve(&stream, &counter));
            }
        });
        Self { root, asked }
    }

    /// How many pictures were asked for.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

fn serve(stream: &TcpStream, counter: &AtomicU64) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        let Some(request) = lines.next().transpose()? else {
            return Ok(());
        };
        while lines
            .next()
            .transpose()?
            .is_some_and(|line| !line.is_empty())
        {}
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (status, body) = answer(path);
        counter.fetch_add(u64::from(path != "/robots.txt"), Ordering::Relaxed);
        let head = format!(
            "HTTP/1.1 {status} answer\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = stream;
        stream.write_all(&[head.as_bytes(), &body].concat())?;
    }
}

fn answer(path: &str) -> (u16, Vec<u8>) {
    let (kind, number) = path
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or_default();
    let Ok(number) = number.parse() else {
        return (404, Vec::new());
    };
    match kind {
        "picture" | "again" => (200, picture(number, 64)),
        "small" => (200, picture(number, 8)),
        "text" => (200, b"no picture at all".to_vec()),
        "gone" => (410, Vec::new()),
        _ => (404, Vec::new()),
    }
}

/// A bitmap of that side, another for each number.
pub(super) fn picture(number: u32, side: u32) -> Vec<u8> {
    let [a, b, c, _] = number.to_le_bytes();
    bitmap(side, |column, row| {
        // Bands, and among them four squares whose colours are the number's bytes.
        let row = side - 1 - row;
        let shade = (row * 255 / side) as u8;
        let square = [a, b, c, shade][((row * 2 / side) * 2 + column * 2 / side) as usize];
        [square.wrapping_mul(7), square, shade]
    })
}

/// A bitmap of that side (a multiple of four): red, green and blue by column and row.
pub(super) fn bitmap(side: u32, colour: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    let pixels = 3 * side * side;
    let mut bytes = b"BM".to_vec();
    for field in [
        54 + pixels,
        0,
        54,
        40,
        side,
        side,
        1 | 24 << 16,
        0,
        pixels,
        0,
        0,
        0,
        0,
    ] {
        bytes.extend(field.to_le_bytes());
    }
    // Rows stand from the bottom up.
    for row in (0..side).rev() {
        for column in 0..side {
            let [red, green, blue] = colour(column, row);
            bytes.extend([blue, green, red]);
        }
    }
    bytes
}
