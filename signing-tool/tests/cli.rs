//! Whole commands: what a person types, sees and gets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::{Command, Output};

use catenoid_envelope::{Draft, open};
use catenoid_schema::{
    anchors::Anchors,
    cbor,
    digest::Digest,
    document::{Document, Role},
    guest::Guest,
    manifest::Manifest,
    units::Timestamp,
};
use common::{Desk, OPERATOR, SOFTWARE, manifest, run, seen, succeed};
use p384::{
    ecdsa::{Signature, SigningKey, signature::Signer as _},
    pkcs8::DecodePrivateKey as _,
};
use serde::{Deserialize, Serialize};
use x509_cert::{Certificate, der::Encode as _};

fn now() -> Timestamp {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    Timestamp::from_seconds(i64::try_from(seconds).unwrap()).unwrap()
}

fn anchors(desk: &Desk) -> Anchors {
    cbor::decode(&desk.read("pki/anchors.cbor"), Anchors::LIMITS).unwrap()
}

/// Digests, times and folders differ from run to run.
fn stable() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("sha256:[0-9a-f]{64}", "sha256:[digest]");
    settings.add_filter(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z", "[time]");
    settings.add_filter(r"\([0-9]+ bytes\)", "([size] bytes)");
    settings.bind_to_scope()
}

#[test]
fn every_command_explains_itself() {
    let commands: [&[&str]; 15] = [
        &[],
        &["pki"],
        &["pki", "init"],
        &["pki", "anchors"],
        &["guest"],
        &["guest", "build"],
        &["guest", "sign"],
        &["sign"],
        &["check"],
        &["plan"],
        &["bundle"],
        &["inspect"],
        &["schema"],
        &["completion"],
        &["man"],
    ];
    let here = std::env::temp_dir();
    let mut text = String::new();
    for command in commands {
        let help = succeed(&here, &[command, &["--help"]].concat());
        // Whoever asks for help gets an example of each command that does something.
        let does = !matches!(command, [] | ["pki"] | ["guest"]);
        assert_eq!(help.contains("Example"), does, "{command:?}");
        text += &format!("$ catenoid-sign {}\n{help}\n", [command, &["--help"]].concat().join(" "));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn tool_a_desk_signs_what_a_device_opens() {
    let desk = Desk::new();
    let signed = desk.sign("press.yaml", "press.manifest.cose");
    assert!(signed.status.success(), "{}", seen(&signed));
    let envelope = desk.read("press.manifest.cose");
    let verified = open::<Manifest>(&envelope, &anchors(&desk), now()).unwrap();
    let guest = desk.read("guests/catenoid-core-1.4.0.guest.cose");
    let reference = verified.document().guests.values().next().unwrap();
    assert_eq!(reference.descriptor, Some(Digest::of(&guest)));
    assert_eq!(verified.signers()[0].subject, "CN=test operator signer,O=test");
    assert!(open::<Guest>(&guest, &anchors(&desk), now()).is_ok());
    let _stable = stable();
    let inspect = ["inspect", "--anchors", "pki/anchors.cbor", "press.manifest.cose"];
    insta::assert_snapshot!("inspect_manifest", seen(&run(desk.path(), &inspect)));
    insta::assert_snapshot!("inspect_anchors", seen(&run(desk.path(), &["inspect", "pki/anchors.cbor"])));
    insta::assert_snapshot!("signed", seen(&signed));
}

#[test]
fn tool_the_same_input_gives_the_same_bytes() {
    let desk = Desk::new();
    for output in ["first.cose", "second.cose"] {
        assert!(desk.sign("press.yaml", output).status.success());
    }
    assert_eq!(desk.read("first.cose"), desk.read("second.cose"));
    // The order and form of the text do not matter.
    let lines: Vec<_> = manifest().lines().rev().map(str::to_owned).collect();
    desk.write("reversed.yaml", &lines.join("\n"));
    assert!(desk.sign("reversed.yaml", "third.cose").status.success());
    assert_eq!(desk.read("first.cose"), desk.read("third.cose"));
}

#[test]
fn tool_a_second_signer_adds_a_signature() {
    let desk = Desk::new();
    assert!(desk.sign("press.yaml", "press.cose").status.success());
    // Another operator: a certificate by the same authority, made with openssl as docs/provision.md shows.
    let openssl = |arguments: &str| {
        let output = std::process::Command::new("openssl").args(arguments.split(' ')).current_dir(desk.path()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", seen(&output));
    };
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out second.key.pem");
    openssl("req -new -key second.key.pem -subj /CN=second -out second.csr.pem");
    let purpose = Role::Operator.extended_key_usage();
    desk.write(
        "signer.ext",
        &format!(
            "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage={purpose}\n"
        ),
    );
    openssl(
        "x509 -req -in second.csr.pem -CA pki/operator/ca.crt.pem -CAkey pki/operator/ca.key.pem -CAcreateserial \
         -sha384 -days 30 -extfile signer.ext -out second.chain.pem",
    );
    let add = ["sign", "--add-signature", "--key", "second.key.pem", "--chain", "second.chain.pem"];
    succeed(desk.path(), &[&add[..], &["--guests", "guests", "press.cose", "-o", "both.cose"]].concat());
    let mut two = anchors(&desk);
    two.roles.get_mut(&Role::Operator).unwrap().threshold = 2;
    assert_eq!(open::<Manifest>(&desk.read("press.cose"), &two, now()).unwrap_err().name(), "signers-too-few");
    let verified = open::<Manifest>(&desk.read("both.cose"), &two, now()).unwrap();
    assert_eq!(verified.signers().len(), 2);
}

/// An envelope that `catenoid-sign` would not make, by the signer of a role, who is believed.
fn sealed<T: Document>(desk: &Desk, role: Role, document: &T) -> Vec<u8> {
    let pem = String::from_utf8(desk.read(&format!("pki/{role}/signer.key.pem"))).unwrap();
    let key = SigningKey::from_pkcs8_pem(&pem).unwrap();
    let chain = Certificate::load_pem_chain(&desk.read(&format!("pki/{role}/signer.chain.pem"))).unwrap();
    let chain: Vec<Vec<u8>> = chain.iter().map(|certificate| certificate.to_der().unwrap()).collect();
    let mut draft = Draft::new(document).unwrap();
    let signature: Signature = key.sign(&draft.message(&chain));
    draft.add(&chain, signature.to_bytes().into());
    draft.finish().unwrap()
}

/// What passes for a manifest until it is read.
#[derive(Serialize, Deserialize)]
struct NoManifest {
    kind: String,
}

impl Document for NoManifest {
    const ROLE: Role = Manifest::ROLE;
    const CONTENT_TYPE: &'static str = Manifest::CONTENT_TYPE;
    const LIMITS: cbor::InputLimits = Manifest::LIMITS;
}

/// A desk, and the manifest and the guest that were signed there.
fn signed_desk() -> (Desk, Manifest, Guest) {
    let desk = Desk::new();
    assert!(desk.sign("press.yaml", "press.cose").status.success());
    let manifest = open::<Manifest>(&desk.read("press.cose"), &anchors(&desk), now()).unwrap().into_document();
    let guest = open::<Guest>(&desk.read("guests/catenoid-core-1.4.0.guest.cose"), &anchors(&desk), now());
    let guest = guest.unwrap().into_document();
    (desk, manifest, guest)
}

/// Who adds a signature vouches for the whole, as the first signer does.
#[test]
fn tool_what_a_first_signer_is_refused_a_second_one_is_too() {
    let (desk, good, guest) = signed_desk();
    let altered = |alter: fn(&mut Manifest)| {
        let mut manifest = good.clone();
        alter(&mut manifest);
        sealed(&desk, Role::Operator, &manifest)
    };
    let naming = |descriptor: fn(&mut Option<Digest>)| {
        let mut manifest = good.clone();
        manifest.guests.values_mut().for_each(|guest| descriptor(&mut guest.descriptor));
        sealed(&desk, Role::Operator, &manifest)
    };
    let mut idle = guest;
    idle.defaults.command.clear();
    let sign = [&["sign", "--add-signature"], &OPERATOR[..], &["--guests", "guests"]].concat();
    let guest_sign = [&["guest", "sign", "--add-signature"], &SOFTWARE[..]].concat();
    let rows = [
        (&sign, sealed(&desk, Role::Operator, &good), None),
        (
            &sign,
            sealed(&desk, Role::Operator, &NoManifest { kind: "Manifest".to_owned() }),
            Some("failed to read the content of `draft.cose`"),
        ),
        (&sign, altered(|manifest| manifest.containers.clear()), Some("containers: none has the role `core`")),
        (&sign, naming(|descriptor| *descriptor = None), Some("guests.core.descriptor: ")),
        (&sign, naming(|descriptor| *descriptor = Some(Digest::of(b""))), Some("`guests.core.descriptor` is `sha256:")),
        (&guest_sign, sealed(&desk, Role::Software, &idle), Some("defaults.command: does not begin with")),
    ];
    for (command, draft, refused) in rows {
        std::fs::write(desk.path().join("draft.cose"), draft).unwrap();
        let output = run(desk.path(), &[&command[..], &["draft.cose", "-o", "more.cose"]].concat());
        let is_signed = std::fs::remove_file(desk.path().join("more.cose")).is_ok();
        let seen = seen(&output);
        match refused {
            None => assert!(is_signed && output.status.success(), "{seen}"),
            Some(reason) => {
                assert!(!is_signed && seen.starts_with("exit code 1\n") && seen.contains(reason), "{reason}: {seen}");
            }
        }
    }
}

/// Believed is not taken: whoever may sign may sign nonsense.
#[test]
fn tool_inspect_refuses_what_breaks_a_rule_whoever_signed_it() {
    let (desk, mut manifest, mut guest) = signed_desk();
    manifest.containers.clear();
    manifest.guests.clear();
    guest.defaults.command.clear();
    let rows = [
        (sealed(&desk, Role::Operator, &manifest), "containers: none has the role `core`"),
        (sealed(&desk, Role::Software, &guest), "defaults.command: does not begin with an absolute path"),
    ];
    for (envelope, rule) in rows {
        std::fs::write(desk.path().join("bad.cose"), envelope).unwrap();
        let inspect = ["inspect", "--anchors", "pki/anchors.cbor", "bad.cose"];
        let text = seen(&run(desk.path(), &inspect));
        assert!(text.starts_with("exit code 1\n") && text.contains(&format!("breaks    {rule}")), "{text}");
        assert!(text.contains("verified  REFUSED") && !text.contains("verified  yes"), "{text}");
        let json = run(desk.path(), &[&inspect[..], &["-o", "json"]].concat());
        assert_eq!(json.status.code(), Some(1), "{}", seen(&json));
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(json["verification"]["state"], "breaksRules", "{json}");
        let first = &json["verification"]["violations"][0];
        let said = [&first["path"], &first["message"]].map(|text| text.as_str().unwrap());
        assert_eq!(said.join(": "), rule);
    }
}

/// A pipe is read where a person names it. One that lies in a folder is not waited for.
#[test]
fn tool_a_pipe_is_an_input_only_where_it_is_named() {
    let desk = Desk::new();
    assert!(desk.sign("press.yaml", "press.cose").status.success());
    let bash = |script: &str| -> Output {
        let script =
            format!("catenoid-sign() {{ timeout 20 {} \"$@\"; }}; {script}", env!("CARGO_BIN_EXE_catenoid-sign"));
        Command::new("bash").args(["-c", &script]).current_dir(desk.path()).output().unwrap()
    };
    let named = [
        "catenoid-sign check <(cat press.yaml)",
        "catenoid-sign inspect --anchors <(cat pki/anchors.cbor) <(cat press.cose)",
        // One that is written to only later.
        "mkfifo later; catenoid-sign check later & cat press.yaml > later; wait $!",
    ];
    for script in named {
        let output = bash(script);
        assert!(output.status.success(), "{script}: {}", seen(&output));
    }
    let guest = desk.path().join("guests/catenoid-core-1.4.0.guest.cose");
    std::fs::remove_file(&guest).unwrap();
    assert!(Command::new("mkfifo").arg(&guest).status().unwrap().success());
    let found = [
        format!("catenoid-sign sign {} --guests guests press.yaml -o out.cose", OPERATOR.join(" ")),
        "catenoid-sign bundle --manifest press.cose --guests guests -o out.tar".to_owned(),
    ];
    for script in found {
        let seen = seen(&bash(&script));
        let refused = "exit code 1\n--- stderr\nerror: `guests/catenoid-core-1.4.0.guest.cose` is not a file\n";
        assert_eq!(seen, refused, "{script}");
    }
}

#[test]
fn tool_a_pki_is_what_openssl_takes_and_never_overwritten() {
    let desk = Desk::new();
    for role in ["root", "operator", "software"] {
        let mut command = std::process::Command::new("openssl");
        command.args(["verify", "-x509_strict", "-CAfile", "pki/root/ca.crt.pem"]);
        if role != "root" {
            command.args(["-untrusted".to_owned(), format!("pki/{role}/ca.crt.pem")]);
        }
        let output = command.arg(format!("pki/{role}/signer.chain.pem")).current_dir(desk.path()).output().unwrap();
        assert!(output.status.success(), "{}", seen(&output));
    }
    let mut files: Vec<String> = Vec::new();
    let mut folders = vec![desk.path().join("pki")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
                files.push(format!("{:o} {}", mode & 0o777, path.strip_prefix(desk.path()).unwrap().display()));
            }
        }
    }
    files.sort_by_key(|line| line.split(' ').next_back().map(str::to_owned));
    insta::assert_snapshot!("pki_layout", files.join("\n"));
    let before = desk.read("pki/root/ca.key.pem");
    insta::assert_snapshot!("pki_exists", seen(&run(desk.path(), &["pki", "init", "--dir", "pki"])));
    assert_eq!(desk.read("pki/root/ca.key.pem"), before);
}

/// What `pki anchors` takes no certificate and no threshold for: each row is the section of its extensions, and how its key
/// is made.
#[test]
fn tool_anchors_that_nobody_could_use_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let [p384, p256] = ["P-384", "P-256"].map(|curve| format!("-newkey ec -pkeyopt ec_paramgen_curve:{curve}"));
    let authority = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign";
    let critical = format!("{authority}\n1.3.6.1.4.1.32473.99=critical,DER:0500");
    let rows: [(&str, &str, &str); 7] = [
        ("good", authority, &p384),
        ("signer", "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature", &p384),
        ("usage", "basicConstraints=critical,CA:true\nkeyUsage=critical,cRLSign", &p384),
        ("nousage", "basicConstraints=critical,CA:true", &p384),
        ("critical", &critical, &p384),
        ("p256", authority, &p256),
        ("rsa", authority, "-newkey rsa:2048"),
    ];
    let mut text = String::new();
    let mut show = |arguments: &[&str]| {
        let all = [&["pki", "anchors", "--name", "fleet", "-o", "anchors.cbor"], arguments].concat();
        text += &format!("$ catenoid-sign {}\n{}\n", all.join(" "), seen(&run(at, &all)));
    };
    for (name, extensions, key) in rows {
        let config = format!("[req]\ndistinguished_name=dn\n[dn]\n[these]\n{extensions}\n");
        std::fs::write(at.join("config"), config).unwrap();
        let made =
            format!("req -x509 -nodes -sha384 {key} -subj /CN={name} -config config -extensions these -keyout k");
        let out = format!("{name}.pem");
        let mut openssl = std::process::Command::new("openssl");
        let output = openssl.args(made.split(' ')).args(["-out", &out]).current_dir(at).output().unwrap();
        assert!(output.status.success(), "{name}: {}", seen(&output));
        show(&["--anchor", &format!("operator={out}")]);
    }
    let [good, signer] = ["good.pem", "signer.pem"].map(|name| std::fs::read_to_string(at.join(name)).unwrap());
    std::fs::write(at.join("two.pem"), good + &signer).unwrap();
    show(&["--anchor", "operator=two.pem"]);
    for threshold in ["operator=8", "operator=9", "operator=0", "operator=256", "software=1"] {
        show(&["--anchor", "operator=good.pem", "--threshold", threshold]);
    }
    insta::assert_snapshot!(text);
}

/// A chain is put into order before anything is signed with it.
#[test]
fn tool_chains_out_of_order_sign_nothing() {
    let desk = Desk::new();
    let read = |path: &str| String::from_utf8(desk.read(path)).unwrap();
    let (signer, operator, root) =
        (read("pki/operator/signer.chain.pem"), read("pki/operator/ca.crt.pem"), read("pki/root/ca.crt.pem"));
    let mut text = String::new();
    for (name, chain) in [
        ("swapped", format!("{signer}{root}{operator}")),
        ("stranger", format!("{signer}{}", read("pki/software/ca.crt.pem"))),
        ("anchor", format!("{signer}{operator}{root}")),
        ("twice", format!("{signer}{signer}")),
    ] {
        desk.write("chain.pem", &chain);
        let key = ["sign", "--key", "pki/operator/signer.key.pem", "--chain", "chain.pem", "--guests", "guests"];
        let output = run(desk.path(), &[&key[..], &["press.yaml", "-o", "out.cose"]].concat());
        assert!(!desk.path().join("out.cose").exists(), "{name} was signed with");
        text += &format!("{name}: {}\n", seen(&output));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn tool_a_bundle_has_the_manifest_first_and_every_blob_once() {
    let desk = Desk::new();
    desk.guest("web", "1");
    let text = manifest()
        .replace("guests: {", "guests: { web: { ref: web@1 },")
        .replace("containers: {", "containers: { web: { guest: web }, web2: { guest: web },");
    desk.write("press.yaml", &text);
    let signed = desk.sign("press.yaml", "press.cose");
    assert!(signed.status.success(), "{}", seen(&signed));
    for output in ["first.tar", "second.tar"] {
        succeed(desk.path(), &["bundle", "--manifest", "press.cose", "--guests", "guests", "-o", output]);
    }
    assert_eq!(desk.read("first.tar"), desk.read("second.tar"));
    let mut archive = tar::Archive::new(std::io::Cursor::new(desk.read("first.tar")));
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        match name.strip_prefix("blobs/") {
            Some(hex) => assert_eq!(Digest::of(&bytes).to_hex(), hex),
            None => assert_eq!(bytes, desk.read("press.cose")),
        }
        names.push(name);
    }
    assert_eq!(names[0], "manifest.cose");
    assert_eq!(names.len(), 5);
    assert!(names[1..].is_sorted());
}

/// What is refused before anything is signed, and how that looks.
#[test]
fn tool_refusals_say_what_to_do() {
    let desk = Desk::new();
    assert!(desk.sign("press.yaml", "press.cose").status.success());
    let mut text = String::new();
    let mut show = |arguments: &[&str]| {
        let output = run(desk.path(), arguments);
        assert!(!output.status.success(), "{arguments:?}");
        text += &format!("$ catenoid-sign {}\n{}\n", arguments.join(" "), seen(&output));
    };
    let sign = |credentials: [&str; 4], rest: &[&str]| {
        let fixed = ["--guests", "guests", "-o", "out.cose"];
        [&["sign"], &credentials[..], &fixed, rest].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut show_all = |arguments: Vec<String>| show(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    show_all(sign(SOFTWARE, &["--anchors", "pki/anchors.cbor", "press.yaml"]));
    show_all(sign(OPERATOR, &["nowhere.yaml"]));
    let mixed = ["--key", "pki/software/signer.key.pem", "--chain", "pki/operator/signer.chain.pem"];
    show_all(sign(mixed, &["press.yaml"]));
    let swapped = ["--key", "pki/operator/signer.chain.pem", "--chain", "pki/operator/signer.key.pem"];
    show_all(sign(swapped, &["press.yaml"]));
    desk.write("missing.yaml", &manifest().replace("1.4.0", "1.5.0"));
    show_all(sign(OPERATOR, &["missing.yaml"]));
    let other = "ref: catenoid-core@1.4.0, descriptor: \"sha256:1111111111111111111111111111111111111111111111111111111111111111\"";
    desk.write("pinned.yaml", &manifest().replace("ref: catenoid-core@1.4.0", other));
    show_all(sign(OPERATOR, &["pinned.yaml"]));
    show_all(sign(OPERATOR, &["--add-signature", "press.yaml"]));
    show_all(sign(OPERATOR, &["--add-signature", "guests/catenoid-core-1.4.0.guest.cose"]));
    let mut altered = desk.read("guests/catenoid-core-1.4.0.guest.cose");
    *altered.last_mut().unwrap() ^= 1;
    std::fs::write(desk.path().join("guests/catenoid-core-1.4.0.guest.cose"), altered).unwrap();
    show_all(sign(OPERATOR, &["--anchors", "pki/anchors.cbor", "press.yaml"]));
    show(&["bundle", "--manifest", "press.cose", "--guests", "guests", "-o", "out.tar"]);
    show(&["inspect", "--anchors", "pki/anchors.cbor", "guests/catenoid-core-1.4.0.guest.cose"]);
    show(&["inspect", "press.yaml"]);
    show(&["check", "press.cose"]);
    show(&["pki", "init", "--dir", "other", "--name", "Not A Name"]);
    show(&["sign"]);
    assert!(!desk.path().join("out.cose").exists(), "something was signed");
    assert!(!desk.path().join("out.tar").exists(), "something was bundled");
    let _stable = stable();
    insta::assert_snapshot!(text);
}

/// Nobody waits for a device to say so.
#[test]
fn tool_expired_is_said_by_each_command() {
    let desk = Desk::new();
    desk.write("press.yaml", &manifest().replace("notAfter: 2100", "notAfter: 2020"));
    let said = "expired at 2020-01-01T00:00:00Z: no device accepts it any more";
    let signed = desk.sign("press.yaml", "press.cose");
    let rest = ["--guests", "guests", "press.cose", "-o", "twice.cose"];
    let again = ["sign", "--add-signature"].into_iter().chain(OPERATOR).chain(rest);
    let outputs = [
        run(desk.path(), &["check", "press.yaml"]),
        signed,
        run(desk.path(), &["inspect", "press.cose"]),
        run(desk.path(), &["inspect", "-o", "json", "press.cose"]),
        run(desk.path(), &again.collect::<Vec<_>>()),
    ];
    for seen in outputs.iter().map(seen) {
        assert!(seen.starts_with("exit code 0") && seen.contains(said), "{seen}");
    }
    desk.write("press.yaml", &manifest());
    let signed = seen(&desk.sign("press.yaml", "press.cose"));
    assert!(signed.starts_with("exit code 0") && !signed.contains("expired"), "{signed}");
    for command in [&["check", "press.yaml"][..], &["inspect", "press.cose"]] {
        assert!(!seen(&run(desk.path(), command)).to_lowercase().contains("expired"), "{command:?}");
    }
}

#[test]
fn completions_and_man_pages_are_written() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        assert!(succeed(folder.path(), &["completion", shell]).contains("catenoid-sign"));
    }
    succeed(folder.path(), &["man", "pages"]);
    let page = std::fs::read_to_string(folder.path().join("pages/catenoid-sign-sign.1")).unwrap();
    assert!(page.contains("add\\-signature"), "{page}");
}
