//! A whole pack: one thread reads it, some deflate batches of entries, the caller's writes.
//!
//! Batches are written in the order in which they were read. The channels between the threads are
//! short, and so memory is bounded: by the entries in batches under way, each batch being little
//! larger than [`BATCH`] or one entry of at most [`LARGE`]. Larger ones pass through in pieces. Added
//! to that are 16 bytes for each entry, for the distances of offset deltas.

use crate::entries::{Batch, Entry, Moves};
use crate::source::{Source, HEADER};
use crate::zlib::{Deflater, PIECE};
use pack_index::error::{Error, Fault, Result};
use pack_index::hash::{Algorithm, Hasher};
use pack_index::oid::Oid;
use std::io::{Read, Write};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A batch ends with the entry that reaches this many bytes...
const BATCH: usize = 256 << 10;
/// ...or this many entries.
const BATCH_ENTRIES: usize = 1024;
/// Entries of more bytes are not held as a whole.
const LARGE: u64 = 4 << 20;
/// Batches that wait for each thread that deflates.
const WAITING: usize = 2;
/// No more threads deflate: reading, which is one thread's, cannot feed more.
const MOST_THREADS: usize = 16;
/// Pieces of a large entry that wait to be deflated.
const PIECES: usize = 4;

/// How a pack is deflated.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What the pack's trailer is made with.
    pub algorithm: Algorithm,
    /// Threads that deflate, at least 1.
    pub threads: usize,
    /// Entries of more bytes pass through in pieces, on the thread that writes.
    pub large: u64,
}

impl Settings {
    /// The settings under which a reel's bytes come out.
    pub fn new(algorithm: Algorithm, threads: usize) -> Self {
        Settings { algorithm, threads: threads.clamp(1, MOST_THREADS), large: LARGE }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Entries in the pack.
    pub objects: u32,
    /// Its size in bytes, with the trailer.
    pub size: u64,
    /// Its trailer in hexadecimal.
    pub checksum: String,
}

/// What the writing thread gets, in order.
enum Next<const W: usize> {
    /// A batch, once it is deflated.
    Batch(Receiver<Result<Batch<W>>>),
    /// An entry whose content comes in pieces.
    Large(Entry<W>, Receiver<Vec<u8>>),
}

/// A batch to deflate, and where it then goes.
type Job<const W: usize> = (Batch<W>, SyncSender<Result<Batch<W>>>);

/// Reads a pack from `input` and writes it with every entry deflated anew.
///
/// Errors are [`Fault::Pack`] for an input that is no pack, with nothing promised about what has been
/// written then, and [`Fault::Io`].
pub fn deflate_pack<const W: usize>(
    input: impl Read + Send,
    output: impl Write,
    settings: Settings,
) -> Result<Made> {
    let threads = settings.threads.max(1);
    let waiting = threads * WAITING;
    let (jobs, jobs_taken) = sync_channel::<Job<W>>(waiting);
    let (queue, queued) = sync_channel::<Next<W>>(waiting);
    let (count_known, count) = sync_channel::<u32>(1);
    let jobs_taken = Arc::new(Mutex::new(jobs_taken));
    thread::scope(|scope| {
        let reading = start(scope, "read", move || {
            read(Source::new(input, settings.algorithm), &settings, &count_known, jobs, &queue)
        })?;
        let mut deflating = Vec::new();
        for _ in 0..threads {
            let jobs = Arc::clone(&jobs_taken);
            deflating.push(start(scope, "deflate", move || work(&jobs))?);
        }
        // Gone with the last of the threads, so that nobody waits for threads that are not there.
        drop(jobs_taken);
        let written = write(output, &settings, &count, queued);
        let read = reading.join().unwrap_or_else(|_| Err(panicked()));
        let worked = deflating.into_iter().all(|thread| thread.join().is_ok());
        // Whoever fails stops the others, which then say no more than that they were stopped.
        match (written, read) {
            (_, _) if !worked => Err(panicked()),
            (Ok(made), Ok(())) => Ok(made),
            (_, Err(error)) if error.fault != Fault::Cancelled => Err(error),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    })
}

fn start<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<thread::ScopedJoinHandle<'scope, T>> {
    let builder = thread::Builder::new().name(format!("{name} pack"));
    builder.spawn_scoped(scope, run).map_err(|error| Error::io("starting a thread", &error))
}

/// What a thread says when the one it works for has gone.
fn stopped() -> Error {
    Error::new(Fault::Cancelled, "deflating a pack was stopped")
}

fn panicked() -> Error {
    Error::new(Fault::Bug, "a thread that deflates a pack panicked")
}

/// Reads the pack to its end and hands its entries on.
fn read<R: Read, const W: usize>(
    mut source: Source<R, W>,
    settings: &Settings,
    count: &SyncSender<u32>,
    jobs: SyncSender<Job<W>>,
    queue: &SyncSender<Next<W>>,
) -> Result<()> {
    let objects = source.begin()?;
    count.send(objects).map_err(|_| stopped())?;
    let mut batch = Batch::default();
    for _ in 0..objects {
        let offset = source.position();
        let entry = Entry { offset, header: source.entry().map_err(|error| error.at(offset))? };
        if entry.header.size > settings.large {
            hand_over(std::mem::take(&mut batch), &jobs, queue)?;
            pass_on(&mut source, entry, queue).map_err(|error| error.at(offset))?;
        } else {
            take(&mut source, entry, &mut batch).map_err(|error| error.at(offset))?;
        }
        if batch.contents.len() >= BATCH || batch.entries.len() >= BATCH_ENTRIES {
            hand_over(std::mem::take(&mut batch), &jobs, queue)?;
        }
    }
    hand_over(batch, &jobs, queue)?;
    source.finish()
}

/// Reads the content of an entry into a batch.
fn take<R: Read, const W: usize>(
    source: &mut Source<R, W>,
    entry: Entry<W>,
    batch: &mut Batch<W>,
) -> Result<()> {
    let begin = batch.contents.len();
    // No more than `large`, which may be claimed in vain.
    batch.contents.resize(begin + entry.header.size as usize, 0);
    source.inflate(&mut batch.contents[begin..])?;
    source.end_entry()?;
    let end = batch.contents.len();
    batch.entries.push((entry, end));
    Ok(())
}

/// Puts a batch before the threads that deflate and in the order of writing.
fn hand_over<const W: usize>(
    batch: Batch<W>,
    jobs: &SyncSender<Job<W>>,
    queue: &SyncSender<Next<W>>,
) -> Result<()> {
    if batch.entries.is_empty() {
        return Ok(());
    }
    let (done, deflated) = sync_channel(1);
    jobs.send((batch, done)).map_err(|_| stopped())?;
    queue.send(Next::Batch(deflated)).map_err(|_| stopped())
}

/// Hands a large entry on piece by piece.
fn pass_on<R: Read, const W: usize>(
    source: &mut Source<R, W>,
    entry: Entry<W>,
    queue: &SyncSender<Next<W>>,
) -> Result<()> {
    let mut left = entry.header.size;
    let (pieces, taken) = sync_channel(PIECES);
    queue.send(Next::Large(entry, taken)).map_err(|_| stopped())?;
    while left != 0 {
        let mut piece = vec![0; left.min(PIECE as u64) as usize];
        source.inflate(&mut piece)?;
        left -= piece.len() as u64;
        pieces.send(piece).map_err(|_| stopped())?;
    }
    source.end_entry()
}

/// Deflates batches as long as there are any.
fn work<const W: usize>(jobs: &Mutex<Receiver<Job<W>>>) {
    let mut deflater = None;
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((batch, done)) = job else { return };
        // The writer may have given up meanwhile; then there is nobody to tell.
        let _ = done.send(deflated(batch, &mut deflater));
    }
}

fn deflated<const W: usize>(
    mut batch: Batch<W>,
    deflater: &mut Option<Deflater>,
) -> Result<Batch<W>> {
    let deflater = match deflater {
        Some(deflater) => deflater,
        none => none.insert(Deflater::new()?),
    };
    batch.deflate(deflater)?;
    Ok(batch)
}

/// The pack being written.
struct Output<T> {
    inner: T,
    hasher: Hasher,
    position: u64,
}

impl<T: Write> Output<T> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.position += bytes.len() as u64;
        self.inner.write_all(bytes).map_err(|error| Error::io("writing the deflated pack", &error))
    }
}

/// Writes what comes out of `queued`, in order.
fn write<const W: usize>(
    output: impl Write,
    settings: &Settings,
    count: &Receiver<u32>,
    queued: Receiver<Next<W>>,
) -> Result<Made> {
    let objects = count.recv().map_err(|_| stopped())?;
    let mut out = Output { inner: output, hasher: Hasher::new(settings.algorithm), position: 0 };
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(b"PACK\0\0\0\x02");
    header[8..].copy_from_slice(&objects.to_be_bytes());
    out.put(&header)?;
    let mut moves = Moves::default();
    let mut deflater = None;
    for next in queued {
        match next {
            Next::Batch(deflated) => {
                let batch = deflated.recv().map_err(|_| stopped())??;
                write_batch(&batch, &mut moves, &mut out)?;
            }
            Next::Large(entry, pieces) => {
                let deflater = match &mut deflater {
                    Some(deflater) => deflater,
                    none => none.insert(Deflater::new()?),
                };
                deflater.reset()?;
                write_large(&entry, pieces, deflater, &mut moves, &mut out)?;
            }
        }
    }
    let trailer: Oid<W> = out.hasher.clone().finish()?;
    out.put(&trailer.to_bytes())?;
    out.inner.flush().map_err(|error| Error::io("writing the deflated pack", &error))?;
    Ok(Made { objects, size: out.position, checksum: trailer.to_string() })
}

fn write_batch<const W: usize>(
    batch: &Batch<W>,
    moves: &mut Moves,
    out: &mut Output<impl Write>,
) -> Result<()> {
    let mut bytes = Vec::with_capacity(batch.contents.len() + batch.entries.len() * 8);
    let mut begin = 0;
    for (entry, end) in &batch.entries {
        let to = out.position + bytes.len() as u64;
        moves.write_header(entry, to, &mut bytes)?;
        moves.note(entry.offset, to);
        bytes.extend_from_slice(batch.contents.get(begin..*end).unwrap_or_default());
        begin = *end;
    }
    out.put(&bytes)
}

fn write_large<const W: usize>(
    entry: &Entry<W>,
    pieces: Receiver<Vec<u8>>,
    deflater: &mut Deflater,
    moves: &mut Moves,
    out: &mut Output<impl Write>,
) -> Result<()> {
    let mut left = entry.header.size;
    let mut bytes = Vec::new();
    moves.write_header(entry, out.position, &mut bytes)?;
    moves.note(entry.offset, out.position);
    while left != 0 {
        let piece = pieces.recv().map_err(|_| stopped())?;
        left = left.saturating_sub(piece.len() as u64);
        deflater.push(&piece, left == 0, &mut bytes)?;
        out.put(&bytes)?;
        bytes.clear();
    }
    Ok(())
}
