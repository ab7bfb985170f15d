//! Second implementations for hardware that the device asks nothing yet: what the libraries say must be what other
//! implementations say, before anything of ours builds on one of them.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod card;
mod tpm;

use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// From the start of a program to its being there: less than a second on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program that ends when this is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Brings the calling thread, and what it starts, into a network and mounts of its own: ports and files that others have are
/// free there, and go with the test.
fn enter_own_namespaces() {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("tests in namespaces run as root");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
}

/// What `attempt` gives as soon as it gives something. For programs that say to nobody that they listen.
fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        #[expect(clippy::disallowed_methods, reason = "they announce it to nobody")]
        thread::sleep(Duration::from_millis(20));
    }
}
