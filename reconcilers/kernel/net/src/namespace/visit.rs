//! A thread that goes into network namespaces.

use std::{marker::PhantomData, os::fd::BorrowedFd};

use nix::sched::{CloneFlags, setns};

use super::Error;
use catenoid_kernel_base::fault::look;

/// A thread that goes from one network namespace to another and ends with the visit: no other thread ever leaves its own.
/// What it opens or spawns stays in the namespace that it is in.
#[derive(Debug)]
pub struct Visitor(PhantomData<*const ()>);

/// Runs `work` on a visitor, which is in the caller's network namespace at first.
///
/// # Errors
/// [`Error::Enter`] if there is no thread to be had.
pub fn visit<T: Send>(work: impl FnOnce(&Visitor) -> T + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let visitor = std::thread::Builder::new().name("namespace".to_owned());
        match visitor.spawn_scoped(scope, || work(&Visitor(PhantomData))).map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => Err(Error::Enter(error)),
        }
    })
}

impl Visitor {
    /// Goes on to the network namespace `net`.
    ///
    /// # Errors
    /// [`Error::Enter`].
    pub fn enter(&self, net: BorrowedFd<'_>) -> Result<(), Error> {
        look("namespace.enter", || setns(net, CloneFlags::CLONE_NEWNET)).map_err(|errno| Error::Enter(errno.into()))
    }
}

/// Runs `work` in the network namespace `net`, on a thread of its own that ends with it.
///
/// # Errors
/// [`Error::Enter`].
pub fn inside<T: Send>(net: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    visit(|visitor| visitor.enter(net).map(|()| work()))?
}
