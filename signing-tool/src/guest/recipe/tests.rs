//! Recipes that are read, and such that are not.

use catenoid_schema::guest::Root;

use super::{Mode, parse};
use crate::yaml::Source;

const GOOD: &str = "\
apiVersion: catenoid.dev/v1
kind: GuestRecipe
name: tiny
version: 1.0.0
architecture: x86_64
source:
  debian: { suite: bookworm, variant: extract, packages: [busybox-static] }
files:
  - { src: a, dest: /etc/a, mode: \"0600\" }
defaults:
  command: [/bin/busybox, httpd]
root: readOnly
";

/// The source of [`GOOD`].
const DEBIAN: &str = "debian: { suite: bookworm, variant: extract, packages: [busybox-static] }";

fn source(text: &str) -> Source {
    Source::from_text("recipe.yaml", text)
}

fn refused(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let source = source(&GOOD.replace(from, to));
    source.render(&parse(&source).unwrap_err())
}

#[test]
fn a_recipe_is_read_with_its_defaults() {
    let recipe = parse(&source(GOOD)).unwrap();
    assert_eq!((recipe.name.as_str(), recipe.version.as_str()), ("tiny", "1.0.0"));
    assert_eq!(recipe.files[0].mode, Mode(0o600));
    assert_eq!((recipe.defaults.working_directory.as_str(), recipe.defaults.user), ("/", 0));
    assert_eq!(recipe.root, Root::ReadOnly);
}

#[test]
fn a_directory_may_set_its_group_and_be_mounted_over() {
    let text = format!("{GOOD}directories: [{{ dest: /srv, mode: \"2775\" }}, {{ dest: /tmp, mode: \"1777\" }}]\n");
    let recipe = parse(&source(&text)).unwrap();
    let modes: Vec<u32> = recipe.directories.iter().map(|directory| directory.mode.0).collect();
    assert_eq!(modes, [0o2775, 0o1777]);
}

#[test]
fn every_refusal_shows_its_place() {
    let table = [
        ("architecture: x86_64", "architecture: x86_64\nnames: x"),
        ("version: 1.0.0", "version: 1.0.0\nname: other"),
        ("[busybox-static]", "[busybox-static, --option]"),
        ("\"0600\"", "\"4755\""),
        ("\"0600\"", "\"2755\""),
        ("/etc/a", "/etc/../a"),
        ("/etc/a", "/run/app/a"),
        ("/etc/a", "/tmp"),
        ("files:\n  - { src: a, dest: /etc/a", "directories:\n  - { dest: /dev/app"),
        ("files:\n  - { src: a, dest: /etc/a, mode: \"0600\" }", "links:\n  - { dest: /proc/a, target: b }"),
        ("files:\n  - { src: a, dest: /etc/a, mode: \"0600\"", "directories:\n  - { dest: /srv, mode: \"6755\""),
        ("[/bin/busybox, httpd]", "[]"),
        ("[/bin/busybox, httpd]", "[busybox]"),
        ("variant: extract", "variant: all"),
        ("root: readOnly", "root: { tmpfs: { size: 16 } }"),
        ("kind: GuestRecipe", "kind: Manifest"),
        ("name: tiny", "name: !!binary dGlueQ=="),
        ("name: tiny", "!!binary bmFtZQ==: tiny"),
        ("name: tiny", "name: tiny\n!!binary bmFtZQ==: other"),
        ("name: tiny", "name: !!str tiny"),
        ("name: tiny", "name: ! tiny"),
        ("root: readOnly", "root: !tmpfs { size: 16MiB }"),
        ("[busybox-static]", "!!seq [busybox-static]"),
        ("root: readOnly", "root: { tmpfs: { size: 18446744073709551615B } }"),
        ("\"0600\"", "0600"),
        ("version: 1.0.0", "version: 1.0"),
        ("version: 1.0.0", "version: 12e3"),
        ("src: a", "src: /etc/shadow"),
        (DEBIAN, "tar: /srv/tiny.tar"),
        (DEBIAN, "tar: a/../../tiny.tar"),
        (DEBIAN, "directory: /etc"),
        (DEBIAN, "directory: ../root"),
    ];
    let messages: Vec<String> = table.iter().map(|(from, to)| refused(from, to)).collect();
    insta::assert_snapshot!(messages.join("\n---\n"));
}

#[test]
fn an_expanding_recipe_is_refused() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n";
    assert!(parse(&source(bomb)).is_err());
    assert!(parse(&source(&"[".repeat(10_000))).is_err());
}
