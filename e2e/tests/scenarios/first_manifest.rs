//! A factory-new device becomes what its first manifest says, and is so again after a power cut.

use std::time::Duration;

use anyhow::Result;

use crate::bench::{Bench, author, converged, is_well, subject};

/// PID 1 kills whoever has not ended by then.
const GRACE: Duration = Duration::from_secs(10);

/// [req->TSF-INIT] [req->SF-15] [req->SF-19]
#[test]
fn vm_first_manifest_converges() -> Result<()> {
    let mut bench = Bench::boot("first-manifest")?;
    let factory = bench.processes()?;
    assert_eq!(factory.keys().collect::<Vec<_>>(), ["core0"], "the factory manifest runs c0 and nothing else");

    let folder = bench.folder("documents")?;
    let demo = bench.author.sign(&folder, &bench.author.example("demo")?)?;
    let digest = author::digest(&demo)?;
    bench.deliver(&["nginx-1.0.0", "busybox-1.0.0"])?;
    let took = bench.apply(&demo)?;
    println!("the first manifest converged {:.1} s after `catenoid apply`, pushes included", took.as_secs_f32());
    check(&mut bench)?;
    assert_eq!(bench.processes()?["core0"], factory["core0"], "c0 is as the factory manifest says, so it runs on");

    let before = bench.processes()?;
    let mut bench = bench.power_cycle()?;
    println!("after the power cut c0 answers in {:.1} s", bench.device.vm().uptime().as_secs_f32());
    bench.wait("the manifest is converged after a power cut", |status| converged(status) == Some(digest))?;
    println!("and all is converged in {:.1} s", bench.device.vm().uptime().as_secs_f32());
    check(&mut bench)?;
    let after = bench.processes()?;
    assert!(before.keys().eq(after.keys()));
    assert!(before.values().all(|process| !after.values().any(|other| other == process)), "these are new processes");

    let took = bench.device.shutdown()?;
    println!("the power button switches it off in {:.1} s", took.as_secs_f32());
    assert!(took < GRACE, "somebody had to be killed");
    Ok(())
}

/// The device is as manifests/demo.yaml says.
fn check(bench: &mut Bench) -> Result<()> {
    let status = bench.status()?;
    for container in ["container/core0", "container/web", "container/beacon"] {
        assert!(is_well(subject(&status, container)?), "{:#?}", subject(&status, container)?);
    }
    assert!(converged(&status).is_some(), "{status:#?}");
    let wanted = bench.written_page("nginx/index-1.0.0.html")?;
    assert_eq!(bench.page(&bench.address("web")?)?, wanted);
    let running = bench.processes()?;
    assert_eq!(running.keys().collect::<Vec<_>>(), ["beacon", "core0", "web"]);
    Ok(())
}
