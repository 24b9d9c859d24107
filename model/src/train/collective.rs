//! Processes that train together: each has the whole model and a part of each batch.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use candle_core::Tensor;

use crate::{Error, Result};

/// What the first bytes of a connection say, so that a stranger is not taken for a process.
const MAGIC: [u8; 8] = *b"m3wsum1\n";
/// How long a process waits for the others to be there.
const WAIT_FOR_START: Duration = Duration::from_secs(120);
/// Time between two attempts to reach process 0.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a process waits for numbers of another: process 0 may be writing a checkpoint.
const WAIT_FOR_NUMBERS: Duration = Duration::from_secs(1800);
/// Numbers that are sent in one piece.
const PIECE: usize = 1 << 16;

/// Adds up numbers over all processes of a training.
pub trait Collective {
    /// This process, from 0.
    fn rank(&self) -> usize;

    /// All processes.
    fn size(&self) -> usize;

    /// Replaces each number by its sum over all processes, in the order of their ranks: all have the same
    /// bits afterwards. Every process calls this as often as the others and with as many numbers.
    ///
    /// # Errors
    /// Another process is gone, or does not answer.
    fn sum(&mut self, values: &mut [f32]) -> Result<()>;

    /// As [`Self::sum`], of a tensor `[N]` f32 on the device that a model computes on. It need not be left
    /// as it was.
    ///
    /// # Errors
    /// As [`Self::sum`], and where the device has no memory for it.
    fn sum_tensor(&mut self, values: Tensor) -> Result<Tensor> {
        let mut numbers: Vec<f32> = values.to_vec1()?;
        self.sum(&mut numbers)?;
        Ok(Tensor::from_vec(numbers, values.shape(), values.device())?)
    }
}

/// One process alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Single;

impl Collective for Single {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum(&mut self, _: &mut [f32]) -> Result<()> {
        Ok(())
    }
}

/// Processes joined by TCP as a star: process 0 adds up and sends the sums to all others.
///
/// Process 0 receives and sends as many numbers as all others together, which suits a few
/// processes. What is sent is not encrypted: the address should be one of a private network.
/// Memory is 256 KiB.
#[derive(Debug)]
pub struct Star {
    rank: usize,
    size: usize,
    /// Of process 0: one connection to each other, by rank. Of the others: that to process 0.
    streams: Vec<TcpStream>,
    bytes: Vec<u8>,
}

impl Star {
    /// Waits until all processes are there. `fingerprint` is of all that must be the same in all of
    /// them; process 0 listens at `address`, the others connect to it.
    ///
    /// # Errors
    /// The address cannot be used, a process does not come within two minutes, or it has another
    /// fingerprint or another number of processes.
    pub fn connect(rank: usize, size: usize, address: &str, fingerprint: [u8; 32]) -> Result<Self> {
        let streams = if rank == 0 {
            let listener = TcpListener::bind(address).map_err(network(address))?;
            accept(&listener, size, address, fingerprint)?
        } else {
            vec![join(rank, size, address, fingerprint)?]
        };
        for stream in &streams {
            let set = stream
                .set_nodelay(true)
                .and_then(|()| stream.set_read_timeout(Some(WAIT_FOR_NUMBERS)));
            set.map_err(network(address))?;
        }
        Ok(Self {
            rank,
            size,
            streams,
            bytes: vec![0; 4 * PIECE],
        })
    }
}

impl Collective for Star {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum(&mut self, values: &mut [f32]) -> Result<()> {
        let failed = |rank: usize| move |source| Error::Process { rank, source };
        for piece in values.chunks_mut(PIECE) {
            let bytes = &mut self.bytes[..4 * piece.len()];
            if self.rank == 0 {
                for (stream, rank) in self.streams.iter_mut().zip(1..) {
                    stream.read_exact(bytes).map_err(failed(rank))?;
                    for (value, bytes) in piece.iter_mut().zip(bytes.as_chunks::<4>().0) {
                        *value += f32::from_le_bytes(*bytes);
                    }
                }
                put(piece, bytes);
                for (stream, rank) in self.streams.iter_mut().zip(1..) {
                    stream.write_all(bytes).map_err(failed(rank))?;
                }
            } else {
                put(piece, bytes);
                for stream in &mut self.streams {
                    stream.write_all(bytes).map_err(failed(0))?;
                    stream.read_exact(bytes).map_err(failed(0))?;
                }
                for (value, bytes) in piece.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *value = f32::from_le_bytes(*bytes);
                }
            }
        }
        Ok(())
    }
}

fn put(values: &[f32], bytes: &mut [u8]) {
    for (value, bytes) in values.iter().zip(bytes.as_chunks_mut::<4>().0) {
        *bytes = value.to_le_bytes();
    }
}

/// What a process says of itself: magic, rank, size, fingerprint.
const GREETING: usize = MAGIC.len() + 8 + 8 + 32;

fn greeting(rank: usize, size: usize, fingerprint: [u8; 32]) -> [u8; GREETING] {
    let mut bytes = [0; GREETING];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&(rank as u64).to_le_bytes());
    bytes[16..24].copy_from_slice(&(size as u64).to_le_bytes());
    bytes[24..].copy_from_slice(&fingerprint);
    bytes
}

/// Takes one connection of each other process; those that greet otherwise are not of ours.
fn accept(
    listener: &TcpListener,
    size: usize,
    address: &str,
    fingerprint: [u8; 32],
) -> Result<Vec<TcpStream>> {
    let deadline = Instant::now() + WAIT_FOR_START;
    listener.set_nonblocking(true).map_err(network(address))?;
    let mut streams: Vec<Option<TcpStream>> = (1..size).map(|_| None).collect();
    while let Some(missing) = streams.iter().position(Option::is_none) {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if Instant::now() > deadline {
                    let source = std::io::ErrorKind::TimedOut.into();
                    return Err(Error::Process {
                        rank: missing + 1,
                        source,
                    });
                }
                std::thread::sleep(PAUSE);
                continue;
            }
            Err(error) => return Err(network(address)(error)),
        };
        let mut said = [0; GREETING];
        let heard = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_read_timeout(Some(WAIT_FOR_START)))
            .and_then(|()| stream.read_exact(&mut said));
        if heard.is_err() || said[..8] != MAGIC {
            continue;
        }
        let rank = u64::from_le_bytes(said[8..16].try_into().unwrap_or_default()) as usize;
        let place = rank.checked_sub(1).and_then(|place| streams.get_mut(place));
        let is_same = said == greeting(rank, size, fingerprint);
        match place {
            Some(place) if is_same && place.is_none() => {
                stream.write_all(&MAGIC).map_err(network(address))?;
                *place = Some(stream);
            }
            _ => return Err(Error::OtherRun { rank }),
        }
    }
    Ok(streams.into_iter().flatten().collect())
}

/// Connects to process 0, which may not be there yet.
fn join(rank: usize, size: usize, address: &str, fingerprint: [u8; 32]) -> Result<TcpStream> {
    let deadline = Instant::now() + WAIT_FOR_START;
    let mut stream = loop {
        let found = address.to_socket_addrs().map_err(network(address))?.next();
        let found = found.ok_or_else(|| std::io::ErrorKind::AddrNotAvailable.into());
        match found.and_then(|found| TcpStream::connect_timeout(&found, WAIT_FOR_START)) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > deadline => return Err(network(address)(error)),
            Err(_) => std::thread::sleep(PAUSE),
        }
    };
    let mut said = [0; MAGIC.len()];
    let answer = stream
        .set_read_timeout(Some(WAIT_FOR_START))
        .and_then(|()| stream.write_all(&greeting(rank, size, fingerprint)))
        .and_then(|()| stream.read_exact(&mut said));
    match answer {
        Ok(()) if said == MAGIC => Ok(stream),
        Ok(()) => Err(Error::OtherRun { rank }),
        // Process 0 hangs up on a process of another run.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(Error::OtherRun { rank })
        }
        Err(error) => Err(network(address)(error)),
    }
}

fn network(address: &str) -> impl FnOnce(std::io::Error) -> Error {
    let address = address.to_owned();
    move |source| Error::Network { address, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address that was free a moment ago.
    fn address() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    }

    #[test]
    fn sums_are_the_same_bits_in_all_processes() {
        let address = address();
        let part = |rank: usize| -> Vec<f32> {
            let numbers = (0..PIECE + 7).map(|index| (index * (rank + 3)) as f32 * 0.1);
            numbers.collect()
        };
        let sums: Vec<Vec<f32>> = std::thread::scope(|scope| {
            let processes: Vec<_> = (0..3)
                .map(|rank| {
                    let address = &address;
                    scope.spawn(move || {
                        let mut star = Star::connect(rank, 3, address, [7; 32]).unwrap();
                        let mut values = part(rank);
                        star.sum(&mut values).unwrap();
                        values
                    })
                })
                .collect();
            processes
                .into_iter()
                .map(|each| each.join().unwrap())
                .collect()
        });
        let mut expected = part(0);
        for rank in 1..3 {
            for (sum, value) in expected.iter_mut().zip(part(rank)) {
                *sum += value;
            }
        }
        assert!(sums.iter().all(|sum| *sum == expected));
    }

    #[test]
    fn a_process_of_another_run_is_refused_on_both_sides() {
        let address = address();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| Star::connect(1, 2, &address, [8; 32]).unwrap_err());
            let own = Star::connect(0, 2, &address, [7; 32]).unwrap_err();
            for error in [own, other.join().unwrap()] {
                assert!(matches!(error, Error::OtherRun { rank: 1 }), "{error}");
            }
        });
    }
}
