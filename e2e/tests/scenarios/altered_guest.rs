//! What was altered on the disk never runs, and is never read: not before it is started, and not under its feet.

use anyhow::{Context as _, Result};
use catenoid_schema::status::{Health, Status, Sync};

use crate::bench::{Bench, author, converged, subject};

/// The page of the nginx guest, which is not compressed in its image: the byte that is altered is one of these.
const PAGE: &[u8] = b"this page is served by the nginx guest 1.0.0";
const GUEST: &str = "guest/nginx@1.0.0";

/// [req->TSF-INIT] [req->APS-02] [req->NDR-3.2] [req->NDR-2.4-1]
#[test]
fn vm_altered_guest_never_runs() -> Result<()> {
    let mut bench = Bench::ready("altered-guest")?;
    let folder = bench.folder("documents")?;
    let demo = bench.author.sign(&folder, &bench.author.example("demo")?)?;
    let digest = author::digest(&demo)?;
    let image = std::fs::read(bench.artefacts.guests().join("nginx-1.0.0.image"))?;
    let at = image.windows(PAGE.len()).position(|window| window == PAGE).context("the page is not in the image")?;
    bench.deliver(&["nginx-1.0.0", "busybox-1.0.0"])?;

    // Pushed, verified, and altered before anything was started from it.
    bench.c0("catenoid guests push /tmp/parcel/nginx-1.0.0.image /tmp/parcel/nginx-1.0.0.guest.cose")?;
    let blob = format!("/data/blobs/{}", catenoid_schema::digest::Digest::of(&image).to_hex());
    alter(&mut bench, &blob, at)?;
    bench.submit(&demo)?;
    let status = bench.wait("the altered image is reported", is_corrupt)?;
    assert_eq!(subject(&status, GUEST)?.health, Health::Degraded);
    assert_ne!(subject(&status, "container/web")?.health, Health::Healthy);
    let running = bench.processes()?;
    assert!(!running.contains_key("web"), "a container runs from an altered image: {running:?}");

    // The good image again, and all is well.
    bench.apply(&demo)?;
    let address = bench.address("web")?;
    let page = bench.page(&address)?;
    assert_eq!(page, bench.written_page("nginx/index-1.0.0.html")?);
    let before = bench.processes()?;

    // Altered under the running container, once the kernel holds no good copy of it any more.
    alter(&mut bench, &blob, at)?;
    bench.device.root("sync; echo 3 >/proc/sys/vm/drop_caches")?;
    let answer =
        bench.device.ssh().run(["curl", "-sS", "--fail", "--max-time", "10", &format!("http://{address}/")])?;
    assert_ne!(answer.code, 0, "an altered page was served: {answer:?}");
    assert_eq!(answer.stdout, "", "part of an altered page was served");
    let status = bench.wait("the corrupt block is reported", is_corrupt)?;
    let guest = subject(&status, GUEST)?;
    assert_eq!((guest.sync, guest.health), (Sync::Synced, Health::Degraded));
    println!("{}: {}", guest.conditions[0].reason, guest.conditions[0].message);
    assert_eq!(status.accepted.as_ref().map(|state| state.digest), Some(digest));
    assert_eq!(converged(&status), None);
    let kernel = bench.device.root("dmesg | grep -c 'device-mapper: verity.*is corrupted'")?;
    assert_ne!(kernel, "0");
    assert_eq!(bench.processes()?, before, "reading fails; nothing is ended for it");
    Ok(())
}

fn is_corrupt(status: &Status) -> bool {
    subject(status, GUEST).is_ok_and(|guest| guest.conditions.iter().any(|held| held.reason == "ImageCorrupt"))
}

/// Flips the lowest bit of one byte.
fn alter(bench: &mut Bench, file: &str, at: usize) -> Result<()> {
    let script = format!(
        "old=$(dd if={file} bs=1 skip={at} count=1 2>/dev/null | od -An -tu1 | tr -d ' ')
         printf \"\\\\$(printf %03o $((old ^ 1)))\" | dd of={file} bs=1 seek={at} count=1 conv=notrunc 2>/dev/null
         new=$(dd if={file} bs=1 skip={at} count=1 2>/dev/null | od -An -tu1 | tr -d ' ')
         [ $new = $((old ^ 1)) ]"
    );
    bench.device.root(&script).map(drop)
}
