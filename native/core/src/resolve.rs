//! From entries to objects: applying deltas, naming, checking, and going on to what is based on
//! them.
//!
//! Whole objects are settled as they are scanned. Deltas join the list of their base and are
//! resolved from there, depth first, so that a base is still in the cache when its deltas are
//! applied. What is to be done stands on the worker's own stack: a chain of any depth costs no
//! recursion.

use crate::check;
use crate::content::{Content, Data};
use crate::engine::Engine;
use crate::entry::Body;
use crate::error::{Error, Fault, Result};
use crate::hash::{Hasher, Trail};
use crate::inflate::Inflater;
use crate::links::{Linker, Recent};
use crate::object::Kind;
use crate::oid::Oid;
use crate::pool::Pool;
use crate::scan::{Payload, Scanned};
use crate::work::{Late, Reach};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

/// What stands on a worker's stack.
enum Step {
    /// A delta to resolve; its base is resolved.
    Resolve(u32),
    /// A base whose deltas have been dealt with.
    Forget(u32),
}

/// What a worker has for itself.
#[derive(Default)]
pub struct Worker<const W: usize> {
    pub(crate) inflater: Inflater,
    /// Compressed bytes read again.
    pub(crate) input: Vec<u8>,
    stack: Vec<Step>,
    pub(crate) pool: Pool,
    recent: Recent<W>,
    /// What the delta applied last copied, if its base is a checked tree.
    pub(crate) copies: Vec<(u32, u32, u32)>,
}

impl<const W: usize> Worker<W> {
    fn recycle(&mut self, content: Content) {
        if let Data::Memory(bytes) = content.data {
            self.pool.give(bytes);
        }
    }
}

impl<const W: usize> Engine<W> {
    /// Settles the whole objects of a batch, and puts its deltas on the lists of their bases.
    pub fn take_on(&self, worker: &mut Worker<W>, batch: Vec<Scanned<W>>) -> Result<()> {
        let (mut roots, mut deltas) = (Vec::new(), Vec::new());
        for scanned in batch {
            let number = scanned.number;
            let offset = self.table.offset(number);
            for child in self.waits.take(offset) {
                self.adopt(number, child, &mut deltas);
            }
            let base = match scanned.body {
                Body::Whole(kind) => {
                    let settled = match scanned.payload {
                        Payload::Hashed(oid) => self.settle_large(worker, number, kind, oid),
                        Payload::Kept(bytes) => {
                            let content = Content::new(kind, Data::Memory(bytes));
                            self.settle(worker, number, content, None, None)
                        }
                        Payload::Dropped => Err(Error::new(Fault::Bug, "an object was not hashed")),
                    };
                    settled.map_err(|error| error.at(offset))?;
                    roots.push((number, Reach::of(kind)));
                    continue;
                }
                Body::OffsetDelta(base) => {
                    self.find_base(base, number).map_err(|error| error.at(offset))?
                }
                Body::NameDelta(oid) => self.names.find_or_wait(&oid, number),
            };
            if let Payload::Kept(bytes) = scanned.payload {
                self.held.put(number, bytes);
            }
            if let Some(base) = base {
                self.adopt(base, number, &mut deltas);
            }
        }
        self.queue.found(&roots, &deltas);
        Ok(())
    }

    /// Puts a delta on the list of its base, or with `late` if its base no longer has one.
    fn adopt(&self, base: u32, child: u32, late: &mut Vec<Late>) {
        if !self.table.adopt(base, child) {
            late.push((base, child));
        }
    }

    /// Resolves what is based on these objects.
    pub fn resolve_roots(&self, worker: &mut Worker<W>, roots: &[u32]) -> Result<()> {
        roots.iter().try_for_each(|&root| {
            self.descend(worker, root);
            self.drain(worker)
        })
    }

    /// Resolves these deltas and what is based on them.
    pub fn resolve_deltas(&self, worker: &mut Worker<W>, deltas: &[u32]) -> Result<()> {
        worker.stack.extend(deltas.iter().map(|&number| Step::Resolve(number)));
        self.drain(worker)
    }

    /// Does the same for those of these deltas whose bases are at hand, and gives the others back.
    pub fn resolve_late(&self, worker: &mut Worker<W>, late: &[Late]) -> Result<()> {
        let mut cold = Vec::new();
        for &(base, number) in late {
            if self.cache.holds(base) {
                worker.stack.push(Step::Resolve(number));
                self.drain(worker)?;
            } else {
                cold.push((base, number));
            }
        }
        self.queue.cooled(&cold);
        Ok(())
    }

    /// Puts what is based on `number` on the stack.
    fn descend(&self, worker: &mut Worker<W>, number: u32) {
        let bottom = worker.stack.len();
        worker.stack.push(Step::Forget(number));
        self.table.close(number, |child| worker.stack.push(Step::Resolve(child)));
        if worker.stack.len() == bottom + 1 {
            worker.stack.pop();
        }
    }

    fn drain(&self, worker: &mut Worker<W>) -> Result<()> {
        while let Some(step) = worker.stack.pop() {
            if self.has_failed() {
                worker.stack.clear();
                return Ok(());
            }
            match step {
                Step::Resolve(number) => {
                    if self.queue.is_hungry() {
                        self.share(worker);
                    }
                    self.resolve(worker, number)
                        .map_err(|error| error.at(self.table.offset(number)))?;
                }
                Step::Forget(number) if self.is_scanned_around(number) => {
                    if let Some(Ok(content)) = self.cache.remove(number).map(Arc::try_unwrap) {
                        worker.recycle(content);
                    }
                }
                Step::Forget(_) => {}
            }
        }
        Ok(())
    }

    /// Gives away the lower half of the stack, which is the farthest from what is in the caches.
    fn share(&self, worker: &mut Worker<W>) {
        let half = worker.stack.len().div_ceil(2);
        let mut shared = Vec::new();
        let mut place = 0;
        worker.stack.retain(|step| {
            place += 1;
            match step {
                Step::Resolve(number) if place <= half => shared.push(*number),
                // Who gets the deltas needs their base.
                Step::Forget(_) if place <= half => {}
                _ => return true,
            }
            false
        });
        self.queue.add(&shared);
    }

    fn resolve(&self, worker: &mut Worker<W>, number: u32) -> Result<()> {
        let base = self.content(worker, self.table.base(number))?;
        let held = self.held.take(number);
        let (content, oid) = self.apply(worker, number, &base, held, true)?;
        let reach = Reach::of(content.kind);
        self.settle(worker, number, content, oid, Some(&base))?;
        if self.is_ripe(number, reach) {
            self.descend(worker, number);
        } else {
            self.queue.found(&[(number, reach)], &[]);
        }
        Ok(())
    }

    /// Names and checks an object, makes it known, and takes on the deltas that wait for it.
    fn settle(
        &self,
        worker: &mut Worker<W>,
        number: u32,
        mut content: Content,
        oid: Option<Oid<W>>,
        base: Option<&Content>,
    ) -> Result<()> {
        let kind = content.kind;
        let oid = match (oid, content.memory()) {
            (Some(oid), _) => oid,
            (None, Some(bytes)) => {
                let (oid, trail) = self.name(kind, bytes, base, &worker.copies)?;
                content.trail = trail;
                oid
            }
            (None, None) => return Err(Error::new(Fault::Bug, "a large object was not hashed")),
        };
        let index = base.and_then(|base| base.tree.as_ref());
        let reuse = index.map(|index| check::Reuse { index, copies: &worker.copies });
        let mut links = Linker { names: &self.names, recent: &mut worker.recent };
        let checked = match content.memory() {
            Some(bytes) => check::check(kind, bytes, self.config.rules, reuse, &mut links),
            None if kind == Kind::Blob => Ok(None),
            None => {
                let bytes = self.load(&content)?;
                check::check(kind, &bytes, self.config.rules, None, &mut links).map(|_| None)
            }
        };
        content.tree = checked.map_err(|error| Error {
            what: format!("{} {oid}: {}", kind.name(), error.what),
            ..error
        })?;
        self.publish(worker, number, kind, &oid, Some(content))
    }

    /// The name of an object; with the trail of its hash if it is a tree.
    fn name(
        &self,
        kind: Kind,
        bytes: &[u8],
        base: Option<&Content>,
        copies: &[(u32, u32, u32)],
    ) -> Result<(Oid<W>, Trail)> {
        let algorithm = self.config.algorithm;
        if kind != Kind::Tree {
            let mut hasher = Hasher::of_object(algorithm, kind, bytes.len() as u64);
            hasher.update(bytes);
            return Ok((hasher.finish()?, Trail::default()));
        }
        let same_size = base.filter(|base| base.size() == bytes.len() as u64);
        let known = match (same_size, copies.first()) {
            (Some(base), Some(&(0, 0, length))) => Some((&base.trail, length as usize)),
            _ => None,
        };
        Trail::hash(algorithm, kind, bytes, known)
    }

    /// Does the same for an object that was hashed as it was scanned and is not in memory.
    fn settle_large(
        &self,
        worker: &mut Worker<W>,
        number: u32,
        kind: Kind,
        oid: Oid<W>,
    ) -> Result<()> {
        if kind == Kind::Blob || !self.config.rules.objects {
            return self.publish(worker, number, kind, &oid, None);
        }
        let content = self.reread_whole(worker, number)?;
        self.settle(worker, number, content, Some(oid), None)
    }

    /// Makes an object known, and keeps it if something is, or may yet be, based on it.
    fn publish(
        &self,
        worker: &mut Worker<W>,
        number: u32,
        kind: Kind,
        oid: &Oid<W>,
        content: Option<Content>,
    ) -> Result<()> {
        self.table.set_object(number, kind, oid);
        for child in self.names.insert(oid, number, kind)? {
            // The list is open: only whoever settles an object closes it, and later.
            self.table.adopt(number, child);
        }
        match content {
            Some(content) if self.is_base(number) => self.cache.put(number, Arc::new(content)),
            Some(content) => worker.recycle(content),
            None => {}
        }
        self.resolved.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Whether an object is, or may well turn out to be, the base of a delta.
    ///
    /// Few deltas have their base in another segment. A base that was not kept is made again.
    fn is_base(&self, number: u32) -> bool {
        self.table.has_children(number) || !self.is_scanned_around(number)
    }
}
