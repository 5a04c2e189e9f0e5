//! An engine with its threads, whatever the object format.

use crate::repository::Callbacks;
use pack_index::check::Special;
use pack_index::config::Config;
use pack_index::engine::Progress;
use pack_index::error::{Error, Fault, Result};
use pack_index::finish::{Finish, Repository};
use pack_index::hash::Algorithm;
use pack_index::object::Kind;
use pack_index::oid::Oid;
use pack_index::Engine;
use pyo3::exceptions::PyValueError;
use pyo3::PyResult;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A summary with names as text.
pub struct Finished {
    pub checksum: String,
    pub objects: u32,
    pub size: u64,
    pub appended: Vec<String>,
    pub missing: Vec<(String, Option<Kind>)>,
    pub unchecked: Vec<(String, Special)>,
}

/// Where the files go that finishing writes; see [`Finish`].
pub struct Places<'a> {
    pub idx: &'a Path,
    pub rev: Option<&'a Path>,
    pub completed: Option<&'a Path>,
}

/// What the Python class needs of an engine.
pub trait Indexing: Send + Sync {
    fn advance(&self, prefix: u64) -> Result<()>;
    fn segment_ready(&self, number: usize) -> Result<()>;
    fn progress(&self) -> Progress;
    fn cache_counts(&self) -> (u64, u64);
    fn finish(
        &self,
        places: Places<'_>,
        callbacks: Option<&mut Callbacks>,
        tips: &[String],
    ) -> Result<Finished>;
    fn cancel(&self);
}

/// An engine and its threads; they are stopped and awaited when this goes.
pub struct Handle<const W: usize> {
    engine: Arc<Engine<W>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<const W: usize> Handle<W> {
    /// Opens the pack and starts the workers.
    pub fn start(config: Config) -> Result<Self> {
        let engine = Arc::new(Engine::new(config)?);
        let handle = Handle { engine, threads: Mutex::default() };
        let threads = handle.engine.start()?;
        *handle.threads.lock().unwrap_or_else(|poison| poison.into_inner()) = threads;
        Ok(handle)
    }

    fn join(&self) {
        self.engine.queue_stop();
        let mut threads = self.threads.lock().unwrap_or_else(|poison| poison.into_inner());
        for thread in threads.drain(..) {
            // A worker reports its own panic as an error.
            let _ = thread.join();
        }
    }
}

impl<const W: usize> Drop for Handle<W> {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl<const W: usize> Indexing for Handle<W> {
    fn advance(&self, prefix: u64) -> Result<()> {
        self.engine.advance(prefix)
    }

    fn segment_ready(&self, number: usize) -> Result<()> {
        self.engine.segment_ready(number)
    }

    fn progress(&self) -> Progress {
        self.engine.progress()
    }

    fn cache_counts(&self) -> (u64, u64) {
        self.engine.cache_counts()
    }

    fn finish(
        &self,
        places: Places<'_>,
        callbacks: Option<&mut Callbacks>,
        tips: &[String],
    ) -> Result<Finished> {
        let parse = |tip: &String| {
            let oid = (tip.len() == Oid::<W>::HEX).then(|| Oid::from_hex(tip.as_bytes())).flatten();
            oid.ok_or_else(|| Error::usage(format!("{tip} is no object id of this format")))
        };
        let tips = tips.iter().map(parse).collect::<Result<Vec<Oid<W>>>>()?;
        let Places { idx, rev, completed } = places;
        let finish = Finish { idx, rev, completed, tips: &tips };
        let repository = callbacks.map(|callbacks| callbacks as &mut dyn Repository<W>);
        let summary = self.engine.finish(&finish, repository);
        if let Err(error) = &summary {
            if error.fault != Fault::Usage {
                self.engine.fail(error.clone());
            }
        }
        let summary = summary?;
        self.join();
        Ok(Finished {
            checksum: summary.checksum.to_string(),
            objects: summary.objects,
            size: summary.size,
            appended: summary.appended.iter().map(Oid::to_string).collect(),
            missing: summary.missing.iter().map(|(oid, kind)| (oid.to_string(), *kind)).collect(),
            unchecked: summary
                .unchecked
                .iter()
                .map(|(oid, special)| (oid.to_string(), *special))
                .collect(),
        })
    }

    fn cancel(&self) {
        self.engine.fail(Error::new(Fault::Cancelled, "indexing was cancelled"));
        self.join();
    }
}

/// The hash of an object format, given by git's name for it.
pub fn algorithm_of(object_format: &str, detect_collisions: bool) -> PyResult<Algorithm> {
    match (object_format, detect_collisions) {
        ("sha1", true) => Ok(Algorithm::Sha1Checked),
        ("sha1", false) => Ok(Algorithm::Sha1),
        ("sha256", _) => Ok(Algorithm::Sha256),
        _ => Err(PyValueError::new_err("object_format is neither 'sha1' nor 'sha256'")),
    }
}

/// The bytes that `hex` stands for.
pub fn bytes_of_hex(hex: &str) -> Option<Vec<u8>> {
    let oid_bytes = match hex.len() {
        40 => Oid::<5>::from_hex(hex.as_bytes())?.to_bytes(),
        64 => Oid::<8>::from_hex(hex.as_bytes())?.to_bytes(),
        _ => return None,
    };
    Some(oid_bytes)
}
