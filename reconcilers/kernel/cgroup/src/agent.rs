//! The agent's own group.

use super::{Error, Hierarchy, hierarchy::MEMORY_MIN};
use catenoid_names::objects;

/// The time of a thousand processors: no limit, but one that the kernel keeps books of.
const ALL_PROCESSORS: &str = "100000000 100000";

impl Hierarchy {
    /// Makes the agent's own group, beside `catenoid/`: it may use `memory` bytes, and is ended as a whole when it needs
    /// more. A limit that was changed by hand is set again. The kernel keeps books of its processor time from then on.
    ///
    /// # Errors
    /// [`Error::Make`], [`Error::Read`], [`Error::Write`].
    pub fn prepare_agent(&self, memory: u64) -> Result<(), Error> {
        self.enable("", &["memory"])?;
        self.make(objects::AGENT_CGROUP)?;
        let set = |file, value: &str| self.write(&format!("{}/{file}", objects::AGENT_CGROUP), value);
        set("memory.max", &memory.to_string())?;
        // Half of it is not taken away for anybody.
        set(MEMORY_MIN, &(memory / 2).to_string())?;
        set("memory.oom.group", "1")?;
        // It limits nothing: a kernel that cannot do that is as good.
        let books = self.enable("", &["cpu"]);
        let _ = books.and_then(|()| set("cpu.max", ALL_PROCESSORS));
        Ok(())
    }

    /// Moves the process `pid` with all its threads into the agent's group; what it uses from then on counts there.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn move_to_agent(&self, pid: u32) -> Result<(), Error> {
        self.write(&format!("{}/cgroup.procs", objects::AGENT_CGROUP), &pid.to_string())
    }

    /// Processes of the agent's group that were ended for want of memory so far.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Format`].
    pub fn agent_memory_kills(&self) -> Result<u64, Error> {
        let [kills] = self.numbers(&format!("{}/memory.events", objects::AGENT_CGROUP), ["oom_kill"])?;
        Ok(kills)
    }
}
