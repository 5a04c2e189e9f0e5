//! What can go wrong, by whose fault it is: the pack's, this machine's, or the caller's.

use std::fmt;
use std::io;

/// Whose fault an error is; the Python layer makes one exception class of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes break the pack format, or an object in them breaks git's rules.
    Pack,
    /// A delta's base is neither in the pack nor with the caller.
    MissingBase,
    /// This machine failed: reading, writing, out of disk.
    Io,
    /// The caller asked for something impossible, such as finishing before the last byte.
    Usage,
    /// The caller cancelled.
    Cancelled,
    /// A defect in this program.
    Bug,
}

/// What failed and where in the pack.
#[derive(Clone, Debug)]
pub struct Error {
    /// Whose fault it is.
    pub fault: Fault,
    /// What failed, as a sentence without a full stop.
    pub what: String,
    /// The pack offset of the entry concerned, if there is one.
    pub offset: Option<u64>,
}

/// The result of everything fallible here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that has no place in the pack.
    pub fn new(fault: Fault, what: impl Into<String>) -> Self {
        Error { fault, what: what.into(), offset: None }
    }

    /// A fault of the pack, at the entry beginning at `offset`.
    pub fn pack(offset: u64, what: impl Into<String>) -> Self {
        Error { fault: Fault::Pack, what: what.into(), offset: Some(offset) }
    }

    /// A fault of the caller.
    pub fn usage(what: impl Into<String>) -> Self {
        Error::new(Fault::Usage, what)
    }

    /// A fault of this machine while doing `what`.
    pub fn io(what: &str, error: &io::Error) -> Self {
        Error::new(Fault::Io, format!("{what}: {error}"))
    }

    /// The same error with a place, unless it has one already.
    pub fn at(mut self, offset: u64) -> Self {
        self.offset.get_or_insert(offset);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{} (entry at offset {offset})", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for Error {}
