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
    // Needs CAP_SETPCAP (PR_CAPBSET_DROP in prctl(2)), which the steps below take.
    launch::bound_capabilities(&granted)?;
    // Else the change from root to another user clears what is permitted (capabilities(7), "Effect of user ID changes").
    launch::keep_capabilities()?;
    // Needs CAP_SETGID and CAP_SETUID, which the next step takes.
    launch::set_ids(order.user, order.group_id)?;
    // After the change of user: it clears what is effective and ambient, and this step raises what is granted of it again.
    launch::set_capabilities(&granted, inheritance)?;
    // As the program's user, with its capabilities: a folder that it may not enter is no place to start in.
    launch::set_working_directory(&order.working_directory)?;
    // Who lacks CAP_SYS_ADMIN installs no filter without it (SECCOMP_SET_MODE_FILTER in seccomp(2)).
    launch::no_new_privileges()?;
    // Last: no step before it has to be in its table.
    filter.install()?;
    Ok(())
}
