//! Deflating a pack that comes out of a pipe.

use crate::errors::to_python;
use crate::handle::algorithm_of;
use pack_deflate::{Made, Settings};
use pack_index::error::{Error, Result};
use pack_index::hash::Algorithm;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::fs::File;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

/// See the stub file for what is promised.
#[pyfunction]
#[pyo3(signature = (source, target, *, object_format = "sha1", threads = 0))]
pub fn deflate_pack(
    py: Python<'_>,
    source: RawFd,
    target: PathBuf,
    object_format: &str,
    threads: usize,
) -> PyResult<(u32, u64, String)> {
    let algorithm = algorithm_of(object_format, false)?;
    let input = duplicate(source)?;
    let threads = match threads {
        0 => available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let settings = Settings::new(algorithm, threads);
    let made = py.detach(|| run(input, &target, settings)).map_err(to_python)?;
    Ok((made.objects, made.size, made.checksum))
}

/// A file of our own for what the caller's descriptor stands for.
fn duplicate(descriptor: RawFd) -> PyResult<File> {
    if descriptor < 0 {
        return Err(PyValueError::new_err("source is no file descriptor"));
    }
    // SAFETY: the descriptor is not -1, and is borrowed for no longer than the call that duplicates
    // it; one that is not open makes that call fail.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    Ok(borrowed.try_clone_to_owned()?.into())
}

fn run(input: File, target: &Path, settings: Settings) -> Result<Made> {
    let output =
        File::create(target).map_err(|error| Error::io("creating the deflated pack", &error))?;
    match settings.algorithm {
        Algorithm::Sha256 => pack_deflate::deflate_pack::<8>(input, output, settings),
        _ => pack_deflate::deflate_pack::<5>(input, output, settings),
    }
}
