//! Each room stands once in the list of rooms, which everything else takes them from (`catenoid_house::ROOMS`, and what the
//! macro makes of them). The compiler finds a field that is there twice, but not a room under a second name.

use std::collections::BTreeSet;

use super::tree::Source;
use super::{Breach, at};

/// Where the list is: between these lines.
const REGISTRY: &str = "reconcilers/house/src/lib.rs";
const OPENS: &str = "rooms::rooms! {";
const CLOSES: &str = "}";

/// Rooms that are listed twice, by whichever of their names.
pub(super) fn breaches(sources: &[Source]) -> Vec<Breach> {
    let Some(registry) = sources.iter().find(|source| source.path == REGISTRY) else { return Vec::new() };
    let breach = |line: usize, why: String| at(REGISTRY, line, format!("wall `rooms`: {why}"));
    let rows = (1..).zip(registry.text.lines()).skip_while(|(_, text)| *text != OPENS).skip(1);
    let (mut known, mut breaches) = (BTreeSet::new(), Vec::new());
    for (line, row) in rows.take_while(|(_, text)| *text != CLOSES) {
        let row = row.trim().trim_end_matches(',');
        let names: Vec<_> = row.split([' ', ':']).filter(|word| !word.is_empty() && *word != "as").collect();
        let twice = names.into_iter().filter(|name| !known.insert(*name));
        breaches.extend(twice.map(|name| breach(line, format!("`{name}` is listed twice"))));
    }
    if known.is_empty() {
        breaches.push(breach(1, format!("there is no list of rooms behind `{OPENS}`")));
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(list: &str) -> Vec<String> {
        let source = Source { path: REGISTRY.to_owned(), text: list.to_owned() };
        breaches(&[source]).into_iter().map(|breach| format!("{}: {}", breach.place, breach.why)).collect()
    }

    const FIRST: &str = "mod rooms;\n\nrooms::rooms! {\n    guests: catenoid_guests as GuestsPlanner,\n";

    #[test]
    fn room_that_is_listed_twice_is_found() {
        let twice = |name: &str| format!("{REGISTRY}:5: wall `rooms`: `{name}` is listed twice");
        for (row, names) in [
            ("guests: catenoid_zones as ZonesPlanner", &["guests"][..]),
            ("more: catenoid_guests as Planner", &["catenoid_guests"]),
            ("guests: catenoid_guests as GuestsPlanner", &["guests", "catenoid_guests", "GuestsPlanner"]),
        ] {
            let expected: Vec<_> = names.iter().map(|name| twice(name)).collect();
            assert_eq!(found(&format!("{FIRST}    {row},\n}}\n")), expected, "{row}");
        }
        assert_eq!(found("mod rooms;\n").len(), 1, "a list that is not found is no good one");
    }

    #[test]
    fn each_room_once_is_left_alone() {
        let rooms = format!("{FIRST}    zones: catenoid_zones as ZonesPlanner,\n}}\n\nimpl House {{}}\n");
        assert_eq!(found(&rooms), Vec::<String>::new());
    }
}
