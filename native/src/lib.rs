//! Python's way to [`pack_index`] and [`pack_deflate`].
//!
//! Names and offsets cross as `str` and `int`; nothing else of Python's gets in. Every call that
//! may wait lets go of the interpreter first, and the workers never take hold of it: only
//! `finish`, in the caller's own thread, calls back for bases and for zlib.

mod deflating;
mod errors;
mod handle;
mod repository;

use errors::to_python;
use handle::{Handle, Indexing, Places};
use pack_index::check::{Rules, Special};
use pack_index::config::Config;
use pack_index::hash::Algorithm;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use repository::Callbacks;
use std::path::PathBuf;

/// Memory used unless the caller says otherwise, in bytes.
const MEMORY: usize = 256 << 20;
/// No object is larger unless the caller says otherwise, in bytes.
const LARGEST_OBJECT: u64 = 64 << 30;

/// Indexes one pack file while it grows; see the stub file for what each method promises.
#[pyclass(frozen, module = "gittorrent_native")]
struct Indexer {
    handle: Box<dyn Indexing>,
}

#[pymethods]
impl Indexer {
    #[new]
    #[pyo3(signature = (
        path, *, size, objects, object_format = "sha1", checksum_hex = None, segments = Vec::new(), threads = 0,
        memory_limit = MEMORY, detect_collisions = true, check_objects = true, fsck = true,
        largest_object = LARGEST_OBJECT, spill_dir = None,
    ))]
    #[allow(clippy::too_many_arguments)] // keywords in Python
    fn new(
        path: PathBuf,
        size: u64,
        objects: u32,
        object_format: &str,
        checksum_hex: Option<&str>,
        segments: Vec<(u64, u32)>,
        threads: usize,
        memory_limit: usize,
        detect_collisions: bool,
        check_objects: bool,
        fsck: bool,
        largest_object: u64,
        spill_dir: Option<PathBuf>,
    ) -> PyResult<Self> {
        let algorithm = handle::algorithm_of(object_format, detect_collisions)?;
        let checksum = checksum_hex
            .map(|hex| {
                handle::bytes_of_hex(hex)
                    .ok_or_else(|| PyValueError::new_err("checksum_hex is no checksum"))
            })
            .transpose()?;
        let spill = match (spill_dir, path.parent()) {
            (Some(directory), _) => directory,
            (None, Some(parent)) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let config = Config {
            path,
            size,
            objects,
            checksum,
            segments,
            algorithm,
            rules: Rules { objects: check_objects, fsck },
            threads,
            memory: memory_limit,
            largest_object,
            spill,
        };
        let handle: Box<dyn Indexing> = match algorithm {
            Algorithm::Sha256 => Box::new(Handle::<8>::start(config).map_err(to_python)?),
            _ => Box::new(Handle::<5>::start(config).map_err(to_python)?),
        };
        Ok(Indexer { handle })
    }

    fn advance(&self, py: Python<'_>, prefix_bytes: u64) -> PyResult<()> {
        py.detach(|| self.handle.advance(prefix_bytes)).map_err(to_python)
    }

    fn segment_ready(&self, py: Python<'_>, number: usize) -> PyResult<()> {
        py.detach(|| self.handle.segment_ready(number)).map_err(to_python)
    }

    fn progress(&self) -> (u64, u64, u64) {
        let progress = self.handle.progress();
        (progress.scanned, progress.resolved, progress.bytes)
    }

    fn cache_counts(&self) -> (u64, u64) {
        self.handle.cache_counts()
    }

    #[pyo3(signature = (
        idx_path, rev_path = None, *, completed_path = None, read_object = None, deflate = None,
        tips = Vec::new(),
    ))]
    #[allow(clippy::too_many_arguments)] // keywords in Python
    fn finish(
        &self,
        py: Python<'_>,
        idx_path: PathBuf,
        rev_path: Option<PathBuf>,
        completed_path: Option<PathBuf>,
        read_object: Option<Py<PyAny>>,
        deflate: Option<Py<PyAny>>,
        tips: Vec<String>,
    ) -> PyResult<Summary> {
        let mut callbacks = read_object.map(|read_object| Callbacks::new(read_object, deflate));
        let places = Places {
            idx: &idx_path,
            rev: rev_path.as_deref(),
            completed: completed_path.as_deref(),
        };
        let finished = py.detach(|| self.handle.finish(places, callbacks.as_mut(), &tips));
        // An exception raised by a callback says more than the error it led to.
        match callbacks.and_then(Callbacks::into_exception) {
            Some(exception) => Err(exception),
            None => finished.map(Summary::from).map_err(to_python),
        }
    }

    fn cancel(&self, py: Python<'_>) {
        py.detach(|| self.handle.cancel());
    }
}

/// What became of a pack.
#[pyclass(frozen, get_all, module = "gittorrent_native")]
struct Summary {
    checksum: String,
    objects: u32,
    size: u64,
    appended: Vec<String>,
    missing: Vec<(String, Option<&'static str>)>,
    unchecked: Vec<(String, &'static str)>,
}

#[pymethods]
impl Summary {
    fn __repr__(&self) -> String {
        format!(
            "Summary(checksum='{}', objects={}, size={}, appended={}, missing={}, unchecked={})",
            self.checksum,
            self.objects,
            self.size,
            self.appended.len(),
            self.missing.len(),
            self.unchecked.len()
        )
    }
}

impl From<handle::Finished> for Summary {
    fn from(finished: handle::Finished) -> Self {
        let special = |special| match special {
            Special::Modules => ".gitmodules",
            Special::Attributes => ".gitattributes",
        };
        Summary {
            checksum: finished.checksum,
            objects: finished.objects,
            size: finished.size,
            appended: finished.appended,
            missing: finished
                .missing
                .into_iter()
                .map(|(oid, kind)| (oid, kind.map(|kind| kind.name())))
                .collect(),
            unchecked: finished
                .unchecked
                .into_iter()
                .map(|(oid, which)| (oid, special(which)))
                .collect(),
        }
    }
}

/// The module.
#[pymodule]
fn gittorrent_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Indexer>()?;
    module.add_class::<Summary>()?;
    module.add_function(wrap_pyfunction!(deflating::deflate_pack, module)?)?;
    module.add("ZLIB_VERSION", pack_deflate::zlib::version())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    errors::register(module)
}
