//! Whatever is wrong with a manifest: it is refused with its own error, the refusal is in the audit log, and nothing else
//! has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, ensure};
use catenoid_schema::cbor;
use catenoid_schema::control::Problem;
use catenoid_schema::digest::Digest;
use catenoid_schema::document::Document as _;
use catenoid_schema::guest::Guest;
use catenoid_schema::manifest::Manifest;
use catenoid_schema::units::Timestamp;

use crate::bench::author::{self, resequenced};
use crate::bench::{Author, Bench, Record, Signer};

/// A small manifest: c0 as it is, and one more container.
const SMALL: &str = "
  beacon:
    guest: tiny
    limits: { memory: 16MiB, cpu: 0.25, pids: 16 }
";
/// Its sequence; there is one below and many above.
const HELD: u64 = 5;
/// The most arrays in each other that a hostile document has.
const DEEP: usize = 100_000;

/// What is sent, and the only answer that is right.
struct Row {
    name: &'static str,
    envelope: Vec<u8>,
    error: &'static str,
}

/// [req->TSF-INIT] [req->TSF-UPDATE]
#[test]
fn vm_refused_manifests() -> Result<()> {
    let mut bench = Bench::ready("refused")?;
    let folder = bench.folder("documents")?;
    let small = small(&bench.author.example("factory")?, HELD)?;
    let held = bench.author.sign(&folder, &small)?;
    bench.deliver(&["busybox-1.0.0"])?;
    bench.apply(&held)?;
    let digest = author::digest(&held)?;
    let (processes, refusals) = (bench.processes()?, refusals(&mut bench)?);

    let rows = rows(&bench.author, &folder, &held)?;
    let answers = send(&mut bench, rows.iter().map(|row| row.envelope.as_slice()))?;
    for (row, answer) in rows.iter().zip(&answers) {
        println!("{:<44} {}", row.name, answer.detail);
        assert_eq!(answer.kind, urn(row.error), "{}: {answer:#?}", row.name);
    }
    let audited = bench.audit(rows.len())?;
    for (row, record) in rows.iter().zip(&audited) {
        assert_refusal(record, row.error, row.name);
    }

    let zeros = "head -c 67108864 /dev/zero | curl -sS --unix-socket /run/catenoid/control.sock -H Expect: -T - \
                 http://catenoid/v1/manifest || true";
    let answer: Problem = serde_json::from_str(&bench.c0(zeros)?).context("64 MiB of zeros have no answer")?;
    assert_eq!(answer.kind, urn("too-large"), "64 MiB of zeros: {answer:#?}");
    assert_refusal(bench.audit(1)?.last().context("no record")?, "too-large", "64 MiB of zeros");

    // One flipped bit in every byte of an envelope that would be accepted without it.
    let next = bench.author.sign(&folder, &self::small(&bench.author.example("factory")?, HELD + 1)?)?;
    let flipped: Vec<Vec<u8>> = (0..next.len()).map(|at| flip(&next, at)).collect();
    let answers = send(&mut bench, flipped.iter().map(Vec::as_slice))?;
    let fields = Fields::of(&next, &bench.author.signer("operator")?)?;
    let mut names: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    for (at, answer) in answers.iter().enumerate() {
        let name = answer.kind.rsplit(':').next().unwrap_or_default().to_owned();
        let field = fields.name(at);
        assert!(fields.may_say(field, &name), "a bit of byte {at} ({field}): {answer:#?}");
        *names.entry(field).or_default().entry(name).or_default() += 1;
    }
    println!("one flipped bit in each of {} bytes: {names:#?}", next.len());
    assert_eq!(
        names.keys().copied().collect::<Vec<_>>(),
        ["certificate", "content type", "frame", "payload", "signature"]
    );

    // Each in the audit log; nothing has changed; and the one without a flipped bit would have been taken.
    let sent = rows.len() + 1 + flipped.len();
    let recorded = until_recorded(&mut bench, refusals + sent)?;
    assert_eq!(recorded - refusals, sent, "every refusal is audited, and once");
    let lines = bench.device.root(r#"grep -c '"kind":"ManifestRefused"' /data/audit/audit.jsonl"#)?;
    println!("{sent} refusals are {lines} lines of the audit log");
    assert_eq!(bench.processes()?, processes);
    let status = bench.status()?;
    for state in [&status.accepted, &status.converged] {
        assert_eq!(state.as_ref().map(|state| state.digest), Some(digest));
    }
    bench.apply(&next)?;
    Ok(())
}

/// The factory manifest with another sequence and one more container.
fn small(factory: &str, sequence: u64) -> Result<String> {
    let guests = "  core: { ref: catenoid-core@0.1.0 }\n";
    let more = resequenced(factory, sequence)?.replace(guests, &format!("{guests}  tiny: {{ ref: busybox@1.0.0 }}\n"));
    Ok(more + SMALL.trim_start_matches('\n'))
}

fn rows(author: &Author, folder: &std::path::Path, held: &[u8]) -> Result<Vec<Row>> {
    let operator = author.signer("operator")?;
    let good = author::manifest(held)?;
    let next = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = good.clone();
        manifest.metadata.sequence = HELD + 1;
        change(&mut manifest);
        manifest
    };
    let raw = |payload: Vec<u8>| operator.seal_payload(Manifest::CONTENT_TYPE, payload);
    let payload = cbor::encode(&next(&|_| {}))?;
    let unsigned = {
        let mut envelope = operator.seal(&next(&|_| {}))?;
        // The array of signatures is the last item: 0x81 and one signature become 0x80.
        let signatures = envelope.len() - signature_item(&operator).len() - 1;
        ensure!(envelope[signatures] == 0x81, "the envelope ends with one signature");
        envelope.truncate(signatures);
        envelope.push(0x80);
        envelope
    };
    let time = |seconds: i64| Timestamp::from_seconds(seconds).expect("a time between 1970 and 9999");
    let guest = fs::read(folder.join("manifest.cose")).context("no envelope of the signing tool")?;
    ensure!(guest == held, "the signing tool wrote the envelope that is held");

    Ok(vec![
        Row { name: "no bytes", envelope: Vec::new(), error: "envelope-malformed" },
        Row { name: "1 MiB of zeros", envelope: vec![0; 1 << 20], error: "envelope-malformed" },
        Row { name: "arrays in arrays", envelope: vec![0x81; DEEP], error: "envelope-too-deep" },
        Row { name: "no signature", envelope: unsigned, error: "signature-count" },
        Row {
            name: "signed by who may sign guests",
            envelope: author.signer("software")?.seal(&next(&|_| {}))?,
            error: "signer-role-wrong",
        },
        Row {
            name: "signed by who may sign anchors",
            envelope: author.signer("root")?.seal(&next(&|_| {}))?,
            error: "signer-role-wrong",
        },
        Row {
            name: "signed by the operator of another fleet",
            envelope: author.stranger(folder)?.seal(&next(&|_| {}))?,
            error: "certificate-untrusted",
        },
        Row {
            name: "signed as a guest",
            envelope: operator.seal_payload(Guest::CONTENT_TYPE, payload.clone())?,
            error: "content-type-wrong",
        },
        Row {
            name: "expired",
            envelope: operator.seal(&next(&|m| m.metadata.not_after = time(1_577_836_800)))?,
            error: "manifest-expired",
        },
        Row {
            name: "not yet valid",
            envelope: operator.seal(&next(&|m| m.metadata.not_before = Some(m.metadata.not_after)))?,
            error: "manifest-not-yet-valid",
        },
        Row {
            name: "an older sequence",
            envelope: operator.seal(&next(&|m| m.metadata.sequence = HELD - 1))?,
            error: "manifest-sequence-older",
        },
        Row {
            name: "the same sequence with other content",
            envelope: operator.seal(&next(&|m| {
                m.metadata.sequence = HELD;
                m.metadata.name = "other".parse().expect("a name");
            }))?,
            error: "manifest-sequence-reused",
        },
        Row {
            name: "for another device",
            envelope: operator.seal(&next(&|m| m.target.serials = ["QEMU-0002".parse().expect("a serial")].into()))?,
            error: "manifest-other-target",
        },
        Row {
            name: "a guest that was never pushed",
            envelope: operator.seal(&next(&|m| {
                let guest = m.guests.values_mut().next().expect("the manifest names guests");
                guest.descriptor = Some(Digest::of(b"never pushed"));
            }))?,
            error: "guest-missing",
        },
        Row {
            name: "a container of a guest that it does not name",
            envelope: operator.seal(&next(&|m| m.guests.retain(|name, _| name.as_str() != "tiny")))?,
            error: "manifest-breaks-rules",
        },
        Row { name: "an unknown field", envelope: raw(with_unknown_field(&payload)?)?, error: "payload-malformed" },
        Row {
            name: "an unknown field of a feature that is required",
            envelope: raw(with_unknown_field(&cbor::encode(&next(&|manifest| {
                manifest.requires.insert("verification".parse().expect("a name"));
            }))?)?)?,
            error: "newer-agent-needed",
        },
        Row {
            name: "a length that is not the shortest",
            envelope: raw(with_long_head(&payload)?)?,
            error: "payload-not-deterministic",
        },
        Row {
            name: "a signed byte too many",
            envelope: raw([&payload[..], &[0]].concat())?,
            error: "payload-malformed",
        },
        Row { name: "signed arrays in arrays", envelope: raw(vec![0x81; DEEP])?, error: "payload-too-deep" },
        Row { name: "signed zeros", envelope: raw(vec![0; 1 << 20])?, error: "payload-malformed" },
    ])
}

/// The same map with one more pair, where its key belongs.
fn with_unknown_field(payload: &[u8]) -> Result<Vec<u8>> {
    let mut value: ciborium::value::Value = ciborium::from_reader(payload)?;
    let fields = value.as_map_mut().context("a manifest is a map")?;
    fields.push(("verification".into(), "off".into()));
    Ok(cbor::encode(&value)?)
}

/// The same map with its count of pairs in two bytes instead of one.
fn with_long_head(payload: &[u8]) -> Result<Vec<u8>> {
    let (head, rest) = payload.split_first().context("an empty manifest")?;
    ensure!((0xa0..0xb8).contains(head), "a manifest is a short map");
    Ok([&[0xb8, head - 0xa0], rest].concat())
}

/// Sends each envelope from c0 over one connection; what the device answered.
fn send<'a>(bench: &mut Bench, envelopes: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Problem>> {
    let folder = bench.folder("hostile")?;
    fs::remove_dir_all(&folder)?;
    fs::create_dir(&folder)?;
    let mut requests = Vec::new();
    for (index, envelope) in envelopes.enumerate() {
        let name = format!("{index:05}");
        fs::write(folder.join(&name), envelope).with_context(|| format!("failed to write `{name}`"))?;
        requests.push(format!(
            "url = \"http://catenoid/v1/manifest\"\nunix-socket = \"/run/catenoid/control.sock\"\n\
             upload-file = \"/tmp/parcel/hostile/{name}\"\nheader = \"Expect:\"\nwrite-out = \"\\n\"\nsilent\nshow-error\n"
        ));
    }
    fs::write(folder.join("requests"), requests.join("next\n")).context("failed to write the requests")?;
    let parent = folder.parent().expect("it lies in the scenario's directory").to_owned();
    bench.send(&parent, vec!["hostile".to_owned()])?;
    let printed = bench.c0("curl -K /tmp/parcel/hostile/requests; rm -r /tmp/parcel/hostile")?;
    let answers =
        printed.lines().map(|line| serde_json::from_str(line).with_context(|| format!("`{line}` is no refusal")));
    let answers: Vec<Problem> = answers.collect::<Result<_>>()?;
    ensure!(answers.len() == requests.len(), "{} answers to {} manifests", answers.len(), requests.len());
    Ok(answers)
}

fn flip(envelope: &[u8], at: usize) -> Vec<u8> {
    let mut flipped = envelope.to_vec();
    flipped[at] ^= 1 << (at % 8);
    flipped
}

fn urn(name: &str) -> String {
    format!("urn:catenoid:error:{name}")
}

/// Waits until the audit log reports so many refusals: a flood of them is reported in parts.
fn until_recorded(bench: &mut Bench, wanted: usize) -> Result<usize> {
    loop {
        let last = bench.status()?.last_event;
        let recorded = refusals(bench)?;
        if recorded >= wanted {
            return Ok(recorded);
        }
        bench.wait("more refusals are reported", |status| status.last_event > last)?;
    }
}

/// The refusals that the audit log reports: each line of one, and those that are counted in it.
fn refusals(bench: &mut Bench) -> Result<usize> {
    let counted = bench.device.root(
        r#"grep '"kind":"ManifestRefused"' /data/audit/audit.jsonl | awk '
             { count += 1 } match($0, /\(and [0-9]+ more of these/) { count += substr($0, RSTART + 5) } END { print count + 0 }'"#,
    )?;
    counted.parse().with_context(|| format!("`{counted}` is no number"))
}

fn assert_refusal(record: &Record, error: &str, row: &str) {
    let event = &record.event;
    assert_eq!((event.kind.as_str(), event.actor.as_str()), ("ManifestRefused", "container/core0 user 0"), "{row}");
    assert!(event.message.starts_with(&format!("{error}: ")), "{row}: {}", event.message);
}

/// How the only signature of an envelope ends it: 96 bytes behind their head.
fn signature_item(signer: &Signer) -> Vec<u8> {
    // [protected, {}, signature]: the protected header is the map of algorithm and chain inside of a byte string.
    let header = [&[0xa2, 0x01, 0x38, 0x22, 0x18, 0x21][..], &bytes_item(&signer.chain[0])].concat();
    [&[0x83][..], &bytes_item(&header), &[0xa0], &bytes_item(&[0; 96])].concat()
}

fn bytes_item(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len();
    let head = match u8::try_from(length) {
        Ok(short @ ..24) => vec![0x40 + short],
        Ok(byte) => vec![0x58, byte],
        Err(_) => [&[0x59][..], &u16::try_from(length).expect("below 64 KiB").to_be_bytes()].concat(),
    };
    [head, bytes.to_vec()].concat()
}

/// Which byte of an envelope belongs to what.
struct Fields {
    named: Vec<(&'static str, std::ops::Range<usize>)>,
    allowed: BTreeMap<&'static str, BTreeSet<&'static str>>,
}

impl Fields {
    fn of(envelope: &[u8], operator: &Signer) -> Result<Self> {
        let find = |what: &[u8]| -> Result<std::ops::Range<usize>> {
            let at = envelope.windows(what.len()).position(|window| window == what).context("a field is not there")?;
            Ok(at..at + what.len())
        };
        let named = vec![
            ("content type", find(Manifest::CONTENT_TYPE.as_bytes())?),
            ("payload", find(&author::payload(envelope)?)?),
            ("certificate", find(&operator.chain[0])?),
            ("signature", envelope.len() - 96..envelope.len()),
        ];
        let wrong = "signature-wrong";
        let frame = [
            "algorithm-not-allowed",
            "certificate-chain-missing",
            "content-type-missing",
            "envelope-malformed",
            "envelope-not-deterministic",
            // A length that swallows its neighbours, and reads on in the middle of a signature.
            "envelope-too-deep",
            "envelope-too-many-items",
            "header-not-allowed",
        ];
        let certificate = [
            "certificate-critical-extension",
            "certificate-dates-wrong",
            "certificate-expired",
            "certificate-is-authority",
            "certificate-key-usage",
            "certificate-name-constraints",
            "certificate-not-yet-valid",
            "certificate-purpose-wrong",
            "certificate-signature-algorithm",
            "certificate-signature-wrong",
            "certificate-unreadable",
            "certificate-untrusted",
            "certificate-version",
            wrong,
        ];
        let allowed = BTreeMap::from([
            ("content type", BTreeSet::from(["content-type-wrong", "envelope-malformed"])),
            ("payload", BTreeSet::from([wrong])),
            ("certificate", BTreeSet::from(certificate)),
            ("signature", BTreeSet::from([wrong])),
            ("frame", BTreeSet::from(frame)),
        ]);
        Ok(Self { named, allowed })
    }

    fn name(&self, at: usize) -> &'static str {
        self.named.iter().find(|(_, range)| range.contains(&at)).map_or("frame", |(name, _)| name)
    }

    fn may_say(&self, field: &str, error: &str) -> bool {
        self.allowed.get(field).is_some_and(|allowed| allowed.contains(error))
    }
}
