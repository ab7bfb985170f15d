//! The power goes at any moment: the device comes back with the last manifest that it acknowledged, and keeps nothing
//! that no manifest needs.
//!
//! One device is recorded while it is pushed to, updated and updated again, with every write and flush of its disk
//! (`catenoid_e2e::write_log`). Each cut is a disk that a power cut could have left, booted: what was not flushed is lost
//! or torn at random. Its TPM holds what it held at that moment (`catenoid_e2e::tpm_log`), which a number shows that the device
//! counts up in its TPM: the device itself keeps nothing there yet. A sample of cuts runs each time, all of them in the whole
//! set `power-cuts`.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::chance::{Chance, share, whole};
use catenoid_e2e::device::{Image, machine_without_firmware, without_firmware};
use catenoid_e2e::progress::Progress;
use catenoid_e2e::tpm::number_in;
use catenoid_e2e::tpm_log::{STATE, TpmLog};
use catenoid_e2e::vm::copy_sparse;
use catenoid_e2e::write_log::{LogError, WriteLog};
use catenoid_e2e::{Artefacts, Device, Vm};
use catenoid_schema::digest::Digest;
use catenoid_schema::document;
use catenoid_schema::guest::Guest;

use crate::bench::author::{self, resequenced};
use crate::bench::{Bench, DAMAGE, SOON, converged, tpm};

/// Cuts of a sample, and of the whole set.
const CUTS: [usize; 2] = [2, 100];
/// What the recorded device becomes after its factory manifest: example and sequence. Each step replaces a guest's image
/// by another, so that one is pushed and one becomes garbage.
const STEPS: [(&str, u64); 4] = [("demo", 2), ("demo-2", 3), ("demo", 4), ("demo-2", 5)];
/// One cut of so many goes on until another manifest made an end of what was on its way.
const TO_THE_END: usize = 10;
/// The sequence of the manifest that each device is given in the end: the factory's content again.
const LAST: u64 = 1000;
/// How far the device counts in its TPM, with something written to its disk after each number.
const COUNTED: u64 = 5;

/// A manifest of the recorded device.
struct Step {
    digest: Digest,
    /// Its number in the ledger.
    generation: u64,
    /// What it needs in the store, by name, with its size.
    needs: BTreeMap<String, u64>,
    containers: Vec<String>,
    /// Bytes of the log before the device had heard of it, when it had acknowledged it, and when it was as it says.
    begun: u64,
    acknowledged: u64,
    converged: u64,
}

/// What a device is given in the end, and what its file system then takes beside its files, in KiB.
struct Last {
    envelope: Vec<u8>,
    overhead: u64,
}

/// Bytes of the log before the device wrote a number to its TPM, and when it had.
type Count = (u64, u64);

/// What is known of the recorded device.
struct Recording {
    steps: Vec<Step>,
    last: Last,
    /// Of the numbers from 1 on.
    counts: Vec<Count>,
    tpm: TpmLog,
}

/// [whole: power-cuts]
#[test]
fn vm_power_cut() -> Result<()> {
    let mut progress = Progress::open()?;
    let (share, shares) = if whole() { share()? } else { (1, 1) };
    let artefacts = Artefacts::new();
    let name = format!("power-cut-{share}");
    let folder = artefacts.vm(&name);
    let mut recording = record(&artefacts, &name)?;
    let mut log = WriteLog::read(&folder.join("writes.log"));
    if let Err(error @ LogError::Hole { .. }) = &log {
        // Seen once: of a thousand entries QEMU had left one out.
        println!("recorded once more: {error}");
        recording = record(&artefacts, &name)?;
        log = WriteLog::read(&folder.join("writes.log"));
    }
    let (log, Recording { steps, last, counts, tpm }) = (log?, recording);
    println!("{} writes and flushes were logged, {} of them flushes", log.entries(), log.flushes());
    println!("the TPM had {} states", tpm.states());
    for (before, (begun, done)) in (0..).zip(&counts) {
        // One entry before the number was written, and one after it: no doubt is left about either.
        for (at, number) in [(log.entries_at(*begun) - 1, before), (log.entries_at(*done) + 1, before + 1)] {
            let may_be = numbers(&folder, &tpm.cut(&log, at, &mut Chance::of(0)), &log, at, &counts)?;
            ensure!(may_be == (number..=number), "{may_be:?} before entry {at}, and not {number}");
        }
    }

    let mut seeds = Chance::new("power cuts");
    for number in 0..CUTS[usize::from(whole())] {
        // Each has a seed of its own: it is the same cut when those before it were done by another run.
        let mut chance = Chance::of(seeds.below(u64::MAX));
        let case = format!("cut {number}");
        if number % shares != share - 1 || progress.has(&case) {
            continue;
        }
        let at = usize::try_from(chance.below(log.entries() as u64 + 1))?;
        let dir = artefacts.vm(&format!("{name}-booted"));
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        let disk = dir.join("disk.img");
        copy_sparse(&Image::Test.disk(&artefacts)?, &disk)?;
        let cut = log.cut(at, &mut chance, &disk)?;
        let state = tpm.cut(&log, at, &mut chance);
        numbers(&folder, &state, &log, at, &counts)?;
        fs::create_dir(dir.join("tpm"))?;
        fs::write(dir.join("tpm").join(STATE), state)?;
        let moment = moment(&steps, &log, at);
        // What was acknowledged before the power went is held; what was on its way may be.
        let by = |length| log.entries_at(length) <= at;
        let acknowledged = steps.iter().rposition(|step| by(step.acknowledged)).unwrap_or(0);
        let begun = steps.iter().rposition(|step| by(step.begun)).unwrap_or(0);
        let may_be_held: Vec<usize> = (acknowledged..=begun).collect();
        let to_the_end = (number / shares).is_multiple_of(TO_THE_END);
        match check(&artefacts, &dir, &steps, &may_be_held, to_the_end.then_some(&last)) {
            Ok(held) => {
                println!("{case}: {moment}: {cut:?}: came back with generation {held}");
                progress.done(&case, moment)?;
            }
            Err(error) => progress.failed(&case, &format!("{moment}: {cut:?}: {error:#}"))?,
        }
    }
    println!("{} power cuts: {:?}", progress.kept().ended.len(), progress.kept().kinds);
    progress.result()
}

/// Runs the device that is recorded.
fn record(artefacts: &Artefacts, name: &str) -> Result<Recording> {
    let machine = machine_without_firmware(artefacts, Image::Test, name)?.log_writes();
    let mut bench = Bench::start(name, machine)?;
    let folder = bench.folder("documents")?;
    let log = bench.device.vm().dir().join("writes.log");
    let logged = || fs::metadata(&log).map(|log| log.len()).context("the log is not there");
    let factory = bench.author.example("factory")?;
    let envelope = bench.author.sign(&folder, &factory)?;
    let mut steps = vec![Step { converged: logged()?, generation: 1, ..step(artefacts, &envelope)? }];
    bench.deliver(&["nginx-1.0.0", "nginx-1.0.1", "busybox-1.0.0"])?;
    for (example, sequence) in STEPS {
        let yaml = resequenced(&bench.author.example(example)?, sequence)?;
        let envelope = bench.author.sign(&folder, &yaml)?;
        let begun = logged()?;
        bench.submit(&envelope)?;
        let acknowledged = logged()?;
        let generation = steps.len() as u64 + 1;
        let step = Step { begun, acknowledged, generation, ..step(artefacts, &envelope)? };
        bench.wait("the manifest is converged", |status| converged(status) == Some(step.digest))?;
        steps.push(Step { converged: logged()?, ..step });
    }
    let store = Store::look(bench.device.vm())?;
    let envelope = bench.author.sign(&folder, &resequenced(&factory, LAST)?)?;
    let vm = bench.device.vm();
    tpm::define(vm)?;
    let mut counts = Vec::new();
    for number in 1..=COUNTED {
        let begun = logged()?;
        tpm::write(vm, number)?;
        counts.push((begun, logged()?));
        let note = vm.root(&format!("echo {number} >/data/audit/counted && sync && rm /data/audit/counted && sync"))?;
        ensure!(note.code == 0, "{note:?}");
    }
    let tpm = vm.tpm_log().context("the TPM was not watched")?.clone();
    bench.device.power_off();
    Ok(Recording { steps, last: Last { envelope, overhead: store.overhead }, counts, tpm })
}

/// The numbers that the TPM of a cut before entry `at` may hold; the one in `state` has to be one of these.
fn numbers(folder: &Path, state: &[u8], log: &WriteLog, at: usize, counts: &[Count]) -> Result<RangeInclusive<u64>> {
    let written = |is: &dyn Fn(&Count) -> bool| counts.iter().take_while(|count| is(count)).count() as u64;
    let may_be = written(&|(_, done)| log.entries_at(*done) < at)..=written(&|(begun, _)| log.entries_at(*begun) <= at);
    let held = number_in(&folder.join("tpm-of-a-cut"), state)?.unwrap_or(0);
    ensure!(may_be.contains(&held), "the TPM holds {held} before entry {at}, and not one of {may_be:?}");
    Ok(may_be)
}

fn step(artefacts: &Artefacts, envelope: &[u8]) -> Result<Step> {
    let manifest = author::manifest(envelope)?;
    let mut needs = BTreeMap::new();
    for reference in manifest.guests.values() {
        let (name, version) = (&reference.reference.name, &reference.reference.version);
        let path = artefacts.guests().join(format!("{name}-{version}.guest.cose"));
        let descriptor = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let guest: Guest = document::decode(&author::payload(&descriptor)?)?;
        needs.insert(Digest::of(&descriptor).to_hex(), descriptor.len() as u64);
        needs.insert(guest.image.digest.to_hex(), guest.image.size.bytes());
    }
    let containers = manifest.containers.keys().map(ToString::to_string).collect();
    let digest = author::digest(envelope)?;
    Ok(Step { digest, generation: 0, needs, containers, begun: 0, acknowledged: 0, converged: 0 })
}

/// What the device was doing when the power went.
fn moment(steps: &[Step], log: &WriteLog, at: usize) -> &'static str {
    let before = |length| at < log.entries_at(length);
    match steps.iter().find(|step| before(step.converged)) {
        None => "idle",
        Some(step) if step.acknowledged == 0 => "first boot",
        Some(step) if before(step.begun) => "idle",
        Some(step) if before(step.acknowledged) => "push and acceptance",
        Some(_) => "convergence",
    }
}

/// Boots what a cut left; the sequence that it came back with. With `last`, also what becomes of what no manifest needs.
fn check(artefacts: &Artefacts, dir: &Path, steps: &[Step], held: &[usize], last: Option<&Last>) -> Result<u64> {
    // Firmware has no part in this; it is left out for speed.
    let mut vm = without_firmware(artefacts, Image::Test, Vm::builder(dir))?.disk_is_thrown_away().start()?;
    let converged = "kind=\"Converged\"";
    vm.wait_console(converged, SOON)?;
    println!("the device is ready after {:.1} s", vm.uptime().as_secs_f32());
    let console = vm.console().text();
    let line = console.lines().find(|line| line.contains(converged)).context("the line is not whole")?;
    let held = held.iter().map(|step| &steps[*step]).find(|step| line.contains(&step.digest.to_string()));
    let held = held.with_context(|| format!("it came back with another manifest: {line}"))?;
    let damage: Vec<_> = console.lines().filter(|line| DAMAGE.iter().any(|kind| line.contains(kind))).collect();
    ensure!(damage.is_empty(), "{damage:#?}");
    let store = Store::look(&mut vm)?;
    ensure!(store.running == held.containers, "{:?} runs instead of {:?}", store.running, held.containers);
    // Beside what is needed there may be what was pushed since the manifest was accepted: it may be for the next one.
    for (name, size) in &held.needs {
        ensure!(store.files.get(name).is_some_and(|(found, _)| found == size), "`{name}` is missing: {store:?}");
    }
    for (name, (_, generation)) in store.files.iter().filter(|(name, _)| !held.needs.contains_key(*name)) {
        ensure!(*generation == held.generation, "`{name}` is nobody's, and would stay: {store:?}");
    }
    if let Some(last) = last {
        let device = Device::of(artefacts.clone(), vm)?;
        let mut bench = Bench::of(artefacts.clone(), device);
        bench.c0("mkdir -p /tmp/parcel")?;
        bench.apply(&last.envelope)?;
        let store = Store::look(bench.device.vm())?;
        let files: BTreeMap<_, _> = store.files.iter().map(|(name, (size, _))| (name.clone(), *size)).collect();
        ensure!(files == steps[0].needs, "{files:?} is held, and only {:?} is needed", steps[0].needs);
        ensure!(store.ledger == ["a", "b"], "{:?}", store.ledger);
        ensure!(store.overhead == last.overhead, "{} KiB are nobody's", store.overhead.abs_diff(last.overhead));
    }
    Ok(held.generation)
}

/// What lies on the data partition, and what runs.
#[derive(Debug)]
struct Store {
    /// Files of `blobs` and `incoming`, with their sizes and generations.
    files: BTreeMap<String, (u64, u64)>,
    ledger: Vec<String>,
    running: Vec<String>,
    /// KiB that the file system says are used, less those that its files take.
    overhead: u64,
}

impl Store {
    fn look(vm: &mut Vm) -> Result<Self> {
        let script = "cd /data; sync; for file in blobs/* incoming/*; do [ -e $file ] && stat -c '%n %s %Y' $file; done
             echo ledger $(ls ledger); echo used $(df -k /data | awk 'END { print $3 }') $(du -ks /data | cut -f 1)
             cd /sys/fs/cgroup/catenoid; echo running $(grep -l 'populated 1' */cgroup.events | cut -d / -f 1)";
        let listed = vm.root(script)?;
        let mut store = Self { files: BTreeMap::new(), ledger: Vec::new(), running: Vec::new(), overhead: 0 };
        for line in listed.text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
            match words[..] {
                ["ledger", ref slots @ ..] => store.ledger = owned(slots),
                ["running", ref containers @ ..] => store.running = owned(containers),
                ["used", system, files] => {
                    store.overhead = system.parse::<u64>()?.checked_sub(files.parse()?).context(line.to_owned())?;
                }
                [name, size, generation] => {
                    let name = name.trim_start_matches("blobs/").to_owned();
                    store.files.insert(name, (size.parse()?, generation.parse()?));
                }
                _ => anyhow::bail!("`{line}` is not what was asked for"),
            }
        }
        Ok(store)
    }
}
