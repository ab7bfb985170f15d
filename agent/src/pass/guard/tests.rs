//! Who is suspected, and who is to blame.

use std::collections::BTreeMap;

use catenoid_kernel_cgroup::shortage::Locks;
use catenoid_schema::{
    manifest::{ContainerRole, Restart},
    name::Name,
};

use super::{
    blame::{blame, fewest},
    suspicion::{Evidence, Suspect, Suspicion},
};

fn suspect(name: &str, role: ContainerRole, pids: &[u32]) -> Suspect {
    let (name, restart) = (name.parse().unwrap(), Restart::Always);
    Suspect { name, role, restart, launches: Vec::new(), pids: pids.to_vec() }
}

#[test]
fn what_is_lost_is_shared_out_by_work() {
    let [busy, taker]: [Name; 2] = ["busy", "taker"].map(|name| name.parse().unwrap());
    let work = |a, b| BTreeMap::from([(busy.clone(), a), (taker.clone(), b)]);
    let mut suspicion = Suspicion::default();
    // Nothing is lost while one is busy, and then something by itself.
    suspicion.look(1000, work(0, 0), 10);
    suspicion.look(1000, work(5000, 0), 10);
    suspicion.look(995, work(9000, 0), 10);
    assert_eq!((suspicion.of(&busy), suspicion.of(&taker)), (0, 0));
    suspicion.look(595, work(9100, 300), 10);
    assert_eq!((suspicion.of(&busy), suspicion.of(&taker)), (100, 300));
    // Who is new has done nothing yet, and some is given back.
    suspicion.look(700, BTreeMap::from([(busy.clone(), 9100)]), 10);
    suspicion.look(600, work(9100, 7), 10);
    assert_eq!((suspicion.of(&busy), suspicion.of(&taker)), (100, 300));
}

#[test]
fn the_fewest_are_found_with_few_looks() {
    for (services, all) in [(0, 0), (0, 1), (1, 2), (3, 4), (100, 101), (99, 103)] {
        for culprit in 1..=all + 1 {
            let mut looks = Vec::new();
            let found = fewest(services, all, |still| {
                looks.push(still);
                Ok::<_, ()>(culprit <= still)
            });
            assert_eq!(found, Ok((culprit <= all).then_some(culprit)), "{services} of {all}, {culprit}");
            assert!(looks.len() <= 9, "{looks:?}");
            assert!(culprit > services || looks.iter().all(|still| *still <= services), "c0 stood still: {looks:?}");
        }
    }
}

#[test]
fn who_has_most_is_blamed_and_c0_last() {
    let all = [
        suspect("core0", ContainerRole::Core, &[1]),
        suspect("small", ContainerRole::Service, &[2]),
        suspect("taker", ContainerRole::Service, &[3, 4]),
    ];
    let blamed = |locks: &Locks, queued: &dyn Fn(u32) -> Option<u64>| {
        blame(&all, locks, queued, 100).map(|(suspect, evidence)| (suspect.name.to_string(), evidence))
    };
    let by = |name: &str, evidence| Some((name.to_owned(), evidence));
    let none = Locks::default();
    assert_eq!(blamed(&none, &|_| Some(99)), None);
    // The first process of `taker` has ended.
    let queued = |pid| [None, Some(900), Some(100), None, Some(200)][pid as usize];
    assert_eq!(blamed(&none, &queued), by("taker", Evidence::Queued(200)));
    assert_eq!(blamed(&none, &|pid| (pid == 1).then_some(900)), by("core0", Evidence::Queued(900)));

    let locks = |more| Locks { by_process: [(2, 10), (3, 30), (4, 40)].into(), listed: 100, more };
    assert_eq!(blamed(&locks(true), &|_| None), by("taker", Evidence::Locks(70)));
    assert_eq!(blamed(&locks(true), &queued), by("taker", Evidence::Locks(70)));
    assert_eq!(blamed(&locks(false), &|_| None), None, "all are listed: they are few");
    let others = Locks { listed: 141, ..locks(true) };
    assert_eq!(blamed(&others, &|_| None), None, "most are somebody else's");
}
