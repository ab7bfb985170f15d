//! The groups of tests. A test's group is its name's prefix: what it needs to run.

/// A group of tests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// As on the command line.
    pub(super) name: &'static str,
    /// What the names of its tests begin with; none in the group of all other tests.
    prefixes: &'static [&'static str],
}

/// In the order in which they run: the fastest first.
pub(super) const GROUPS: [Group; 4] = [
    UNIT,
    Group { name: "tool", prefixes: &["tool"] },
    Group { name: "namespace", prefixes: &["netns", "mountns"] },
    Group { name: "vm", prefixes: &["vm"] },
];
/// Needs nothing but what it is built with: no root, no namespace, no program of a package.
pub(super) const UNIT: Group = Group { name: "unit", prefixes: &[] };

impl Group {
    /// The group that a test belongs to, by its name with the modules before it.
    pub(super) fn of(test: &str) -> &'static Self {
        let (_, name) = test.rsplit_once("::").unwrap_or(("", test));
        let prefix = name.split_once('_').map(|(prefix, _)| prefix);
        let needs = |group: &&Self| prefix.is_some_and(|prefix| group.prefixes.contains(&prefix));
        GROUPS.iter().find(needs).unwrap_or(&UNIT)
    }

    /// The tests of this group, as nextest selects them.
    pub(super) fn filterset(&self) -> String {
        let prefixed = |prefixes: &[&str]| format!("test(/(^|::)({})_/)", prefixes.join("|"));
        if self.prefixes.is_empty() {
            format!("not {}", prefixed(&GROUPS.map(|group| group.prefixes).concat()))
        } else {
            prefixed(self.prefixes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_the_name_is_its_group() {
        for (test, group) in [
            ("netns_pairs_come_and_go", "namespace"),
            ("room::mountns_images_are_mounted", "namespace"),
            ("scenarios::vm_boots", "vm"),
            ("tool_openssl_agrees", "tool"),
            ("tools_are_listed", "unit"),
            ("vm::names_are_short", "unit"),
        ] {
            assert_eq!(Group::of(test).name, group, "{test}");
        }
    }

    #[test]
    fn each_test_is_selected_by_one_group() {
        assert_eq!(GROUPS[2].filterset(), "test(/(^|::)(netns|mountns)_/)");
        assert_eq!(UNIT.filterset(), "not test(/(^|::)(tool|netns|mountns|vm)_/)");
    }
}
