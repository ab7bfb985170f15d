//! What holds on a booted device: each test has a machine of its own with the test image (root's eyes are open). Where the
//! boot is not the subject, it is a machine that was booted once and goes on from there in each test. Everything that goes
//! to the device goes the operator's way: over ssh into c0, and from there through `catenoid` or `curl` to the agent. `bench`
//! has the tools.

mod agent_restart;
mod altered_guest;
mod bench;
mod boot;
mod boots;
mod changes;
mod compat;
mod confined;
mod crash_points;
mod disasters;
mod disk_holder;
mod drift;
mod exhaustion;
mod first_manifest;
mod health;
mod hostile_c0;
mod long_steps;
mod network;
mod power_cut;
mod refused;
mod soak;
