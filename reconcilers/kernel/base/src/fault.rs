//! Fault points: the places where a test build can be made to crash, to fail or to wait.
//!
//! Every effect of a door goes through [`at`], every look through [`look`]. Without the feature `faults` that is all. With it,
//! the points that a process passes are counted from the moment on that a file in [`FOLDER`] arms it, and at one of them
//! the fault happens. The tests that enumerate them are in `e2e/tests/scenarios/crash_points`; the image for a device
//! is refused by the build if its programs have this feature.

#[cfg(not(feature = "faults"))]
mod unarmed {
    use super::Failure;

    /// Does `work`, which changes something.
    ///
    /// # Errors
    /// Those of `work`.
    #[inline]
    pub fn at<T, E: Failure>(_point: &'static str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        work()
    }

    /// Does `work`, which only looks.
    ///
    /// # Errors
    /// Those of `work`.
    #[inline]
    pub fn look<T, E: Failure>(_point: &'static str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        work()
    }
}

#[cfg(feature = "faults")]
pub use armed::{FOLDER, KEPT, at, look};
#[cfg(not(feature = "faults"))]
pub use unarmed::{at, look};

/// What a call that a test makes fail answers: an I/O error.
pub trait Failure {
    /// `EIO`.
    fn injected() -> Self;
}

impl Failure for std::io::Error {
    fn injected() -> Self {
        Self::from_raw_os_error(libc::EIO)
    }
}

impl Failure for rustix::io::Errno {
    fn injected() -> Self {
        Self::IO
    }
}

impl Failure for nix::errno::Errno {
    fn injected() -> Self {
        Self::EIO
    }
}

#[cfg(feature = "faults")]
mod armed {
    use std::{
        fs::{self, File},
        io::Write as _,
        path::PathBuf,
        str::FromStr,
        sync::{Mutex, OnceLock},
        time::Duration,
    };

    use super::Failure;
    use crate::lock;

    /// Where a test arms a process: it writes `<what> <n>` (and milliseconds for `delay`) to `<program>.arm`, which the
    /// program takes away when it passes its next point. In `trace`, if a test made that file, every point that an armed
    /// process passes leaves a line: program, number, `at` or `look`, name; and the fault one: program, `fault`, milliseconds
    /// from boot to it.
    pub const FOLDER: &str = "/run/catenoid-faults";

    /// The same for a process that is not there yet: it survives a boot.
    pub const KEPT: &str = "/data/faults";

    /// What happens at the point.
    #[derive(Clone, Copy)]
    enum Fault {
        /// The process is killed before the work is done.
        Crash,
        /// The work is not done, and fails.
        Fail,
        /// The work is done later.
        Delay(Duration),
    }

    struct Armed {
        fault: Fault,
        /// Points until then.
        left: u64,
        passed: u64,
        trace: Option<File>,
    }

    impl FromStr for Armed {
        type Err = ();

        fn from_str(text: &str) -> Result<Self, ()> {
            let mut words = text.split_whitespace();
            let (what, left) = (words.next().ok_or(())?, words.next().and_then(|n| n.parse().ok()).ok_or(())?);
            let fault = match what {
                "crash" => Fault::Crash,
                "fail" => Fault::Fail,
                "delay" => Fault::Delay(Duration::from_millis(words.next().and_then(|n| n.parse().ok()).ok_or(())?)),
                _ => return Err(()),
            };
            let trace = File::options().append(true).open(format!("{FOLDER}/trace")).ok();
            Ok(Self { fault, left, passed: 0, trace })
        }
    }

    static ARMED: Mutex<Option<Armed>> = Mutex::new(None);
    /// What the process was at its first point: a container's first process counts on as the launcher that it was.
    static PROGRAM: OnceLock<Option<String>> = OnceLock::new();

    /// Does `work`, which changes something, unless a test has something else happen here.
    ///
    /// # Errors
    /// Those of `work`, and the one that a test asked for.
    pub fn at<T, E: Failure>(point: &'static str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        pass("at", point, work)
    }

    /// The same with `work` that only looks.
    ///
    /// # Errors
    /// Those of `work`, and the one that a test asked for.
    pub fn look<T, E: Failure>(point: &'static str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        pass("look", point, work)
    }

    #[expect(clippy::disallowed_methods, reason = "the fault is to wait for nothing")]
    fn pass<T, E: Failure>(kind: &str, point: &'static str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        match due(kind, point) {
            None => work(),
            Some(Fault::Crash) => {
                // It cannot fail for the process itself; what follows ends it all the same.
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                std::process::abort()
            }
            Some(Fault::Fail) => Err(E::injected()),
            Some(Fault::Delay(time)) => {
                std::thread::sleep(time);
                work()
            }
        }
    }

    /// The fault that is due at this point.
    fn due(kind: &str, point: &str) -> Option<Fault> {
        let mut armed = lock(&ARMED);
        let program = PROGRAM.get_or_init(program).as_deref()?;
        for folder in [FOLDER, KEPT] {
            let file = PathBuf::from(format!("{folder}/{program}.arm"));
            // One of several takes it.
            let taken = PathBuf::from(format!("{folder}/{program}.{}", std::process::id()));
            let file = match fs::rename(&file, &taken) {
                Ok(()) => taken,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(_) => file,
            };
            if let Ok(text) = fs::read_to_string(&file) {
                *armed = text.parse().ok();
                // A process that cannot take it away is armed again at its next point.
                let _ = fs::remove_file(&file);
            }
        }
        let state = armed.as_mut()?;
        state.passed += 1;
        if let Some(trace) = &mut state.trace {
            leave(trace, &format!("{program} {} {kind} {point}\n", state.passed));
        }
        state.left = state.left.checked_sub(1)?;
        let fault = state.fault;
        if state.left > 0 {
            return None;
        }
        if let Some(trace) = &mut state.trace {
            leave(trace, &format!("{program} fault {}\n", crate::machine::since_boot().as_millis()));
        }
        *armed = None;
        Some(fault)
    }

    /// Appends a line in one write: others append to the trace as well, and a test reads it meanwhile.
    fn leave(trace: &mut File, line: &str) {
        // What is lost of a trace is missed by the test that reads it.
        let _ = trace.write_all(line.as_bytes());
    }

    /// `agent` or `launcher`: the last part of the program's name. PID 1 has no fault points: its end is that of the
    /// machine.
    fn program() -> Option<String> {
        if std::process::id() == 1 {
            return None;
        }
        let program = std::env::args_os().next()?;
        let program = program.to_str()?.rsplit(['/', '-']).next()?;
        // The agent is started as `/init agent`.
        Some(if program == "init" { "agent".to_owned() } else { program.to_owned() })
    }
}
