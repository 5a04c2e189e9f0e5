//! One exception class for each kind of fault.

use pack_index::error::{Error, Fault};
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

create_exception!(
    gittorrent_native,
    IndexerError,
    PyException,
    "Root of this module's own exceptions."
);
create_exception!(
    gittorrent_native,
    CorruptPack,
    IndexerError,
    "The pack, or an object in it, breaks the rules."
);
create_exception!(
    gittorrent_native,
    MissingBase,
    CorruptPack,
    "A delta's base is nowhere to be found."
);
create_exception!(gittorrent_native, Cancelled, IndexerError, "The caller cancelled.");

/// Adds the classes to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("IndexerError", py.get_type::<IndexerError>())?;
    module.add("CorruptPack", py.get_type::<CorruptPack>())?;
    module.add("MissingBase", py.get_type::<MissingBase>())?;
    module.add("Cancelled", py.get_type::<Cancelled>())
}

/// The exception for an error; the module's own have `what` and `offset`.
pub fn to_python(error: Error) -> PyErr {
    let text = error.to_string();
    let exception = match error.fault {
        Fault::Pack => CorruptPack::new_err(text),
        Fault::MissingBase => MissingBase::new_err(text),
        Fault::Cancelled => Cancelled::new_err(text),
        Fault::Io => return PyOSError::new_err(text),
        Fault::Usage => return PyValueError::new_err(text),
        Fault::Bug => return PyRuntimeError::new_err(text),
    };
    let attributes = Python::attach(|py| {
        let value = exception.value(py);
        value.setattr("what", error.what)?;
        value.setattr("offset", error.offset)
    });
    match attributes {
        Ok(()) => exception,
        Err(other) => other,
    }
}
