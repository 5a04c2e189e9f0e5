//! The caller's repository and zlib, through Python callables.

use pack_index::error::{Error, Fault, Result};
use pack_index::finish::Repository;
use pack_index::object::Kind;
use pack_index::oid::Oid;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The level at which git compresses appended bases unless `core.compression` says otherwise.
const GIT_LEVEL: i32 = 1;

/// Calls back into Python; keeps the first exception that raises.
pub struct Callbacks {
    read_object: Py<PyAny>,
    deflate: Option<Py<PyAny>>,
    exception: Option<PyErr>,
}

impl Callbacks {
    /// `deflate` is `zlib.compress` if `None`, at the level git uses: the zlib of Python is, as a
    /// rule, that of git.
    pub fn new(read_object: Py<PyAny>, deflate: Option<Py<PyAny>>) -> Self {
        Callbacks { read_object, deflate, exception: None }
    }

    /// The exception a callable raised, if one did.
    pub fn into_exception(self) -> Option<PyErr> {
        self.exception
    }

    fn call<T>(&mut self, call: impl FnOnce(&Self, Python<'_>) -> PyResult<T>) -> Result<T> {
        Python::attach(|py| call(self, py)).map_err(|exception| {
            let error = Error::new(Fault::Io, format!("a callback raised {exception}"));
            self.exception.get_or_insert(exception);
            error
        })
    }
}

impl<const W: usize> Repository<W> for Callbacks {
    fn read(&mut self, oid: &Oid<W>) -> Result<Option<(Kind, Vec<u8>)>> {
        self.call(|callbacks, py| {
            let found = callbacks.read_object.bind(py).call1((oid.to_string(),))?;
            if found.is_none() {
                return Ok(None);
            }
            let (name, bytes): (String, Bound<'_, PyBytes>) = found.extract()?;
            let kind = Kind::from_name(name.as_bytes())
                .ok_or_else(|| PyValueError::new_err(format!("read_object returned a {name:?}")))?;
            Ok(Some((kind, bytes.as_bytes().to_vec())))
        })
    }

    fn deflate(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.call(|callbacks, py| {
            let bytes = PyBytes::new(py, bytes);
            let deflated = match &callbacks.deflate {
                Some(deflate) => deflate.bind(py).call1((bytes,))?,
                None => py.import("zlib")?.call_method1("compress", (bytes, GIT_LEVEL))?,
            };
            Ok(deflated.extract::<Bound<'_, PyBytes>>()?.as_bytes().to_vec())
        })
    }
}
