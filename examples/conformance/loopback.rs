//! A web server of a few fixed answers on the loopback address, which counts what it is asked.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// One answer. The connection is closed after it.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Further lines of the header.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

/// How often each path was asked for.
type Counts = Arc<Mutex<HashMap<String, usize>>>;

/// The server; it runs until the program ends.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    counts: Counts,
}

impl Server {
    /// Starts a server that answers a path, given its own port, by `answer`.
    pub(crate) fn start(
        answer: impl Fn(&str, u16) -> Answer + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let counts = Counts::default();
        let shared = Arc::clone(&counts);
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counts = Arc::clone(&shared);
                let answer = Arc::clone(&answer);
                // A client that hangs up early is its own affair.
                thread::spawn(move || serve(stream, &counts, |path| answer(path, address.port())));
            }
        });
        Ok(Self { address, counts })
    }

    /// How often a path was asked for.
    pub(crate) fn count(&self, path: &str) -> usize {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(path).copied().unwrap_or_default()
    }
}

fn serve(
    mut stream: TcpStream,
    counts: &Counts,
    answer: impl Fn(&str) -> Answer,
) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let mut held = counts.lock().unwrap_or_else(PoisonError::into_inner);
    *held.entry(path.to_owned()).or_default() += 1;
    drop(held);
    let answer = answer(path);
    write!(
        stream,
        "HTTP/1.1 {} answer\r\nConnection: close\r\n",
        answer.status
    )?;
    write!(stream, "Content-Length: {}\r\n", answer.body.len())?;
    for (name, value) in &answer.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(&answer.body)
}
