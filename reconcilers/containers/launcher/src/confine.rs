//! What the container's first process gives up before it executes the program.

use std::os::fd::OwnedFd;

use catenoid_containers::order::LaunchOrder;
use catenoid_kernel_base::{
    launch::{self, CapabilityInheritance, Error},
    seccomp::Filter,
};

// [req->SF-7] [req->SF-1] [req->OS-05]
pub(crate) fn confine(order: &LaunchOrder, log: &OwnedFd) -> Result<(), Error> {
    let granted: Vec<u8> = order.capabilities.iter().copied().collect();
    let inheritance = if order.user == 0 { CapabilityInheritance::Root } else { CapabilityInheritance::Program };
    let needs = order.needs.iter().map(|need| need.name()).collect();
    let filter = Filter::new(&order.capabilities, &needs)?;
    launch::redirect(log)?;
    launch::bound_capabilities(&granted)?;
    launch::keep_capabilities()?;
    launch::set_ids(order.user, order.group_id)?;
    launch::set_capabilities(&granted, inheritance)?;
    // As the program's user: a folder that it may not enter is no place to start in.
    launch::set_working_directory(&order.working_directory)?;
    launch::no_new_privileges()?;
    filter.install()?;
    Ok(())
}
