//! The order of a pass among rooms and phases: the only one, which the pass goes with its doors and a forecast with models.

use catenoid_core::{Room, Whose};
use catenoid_schema::{control::Phase, status::Subject};

use crate::House;

/// Whoever goes through the rooms.
pub trait Hands {
    /// What ends it before its time.
    type Halt;

    /// Does the steps that `room` plans for `phase`, of those who are meant; whether any was tried.
    fn act(&mut self, room: &mut dyn Room, phase: Phase, whose: Whose<'_>) -> impl Future<Output = bool>;

    /// Sees what is in `room` now.
    fn look(&mut self, room: &mut dyn Room) -> impl Future<Output = Result<(), Self::Halt>>;

    /// All is prepared, seen and planned; nothing was taken away yet.
    fn prepared(&mut self, house: &House<'_>);

    /// Whether what nobody needs any more may go.
    fn may_let_go(&mut self) -> impl Future<Output = bool>;
}

/// One line of the order: the rooms' steps of one phase, one room after the other.
struct OrderLine {
    phase: Phase,
    /// From the last room to the first: who needs something goes before what it needs.
    backwards: bool,
    /// Which rooms.
    rooms: Which,
    /// Who has its turn.
    who: Who,
    /// Whether the rooms that changed are seen and planned anew, before it goes on.
    looks: bool,
}

#[derive(PartialEq, Eq)]
enum Which {
    All,
    /// But for those that let nothing go before all who need them are as wanted.
    NotLast,
    /// Only those.
    Last,
}

enum Who {
    All,
    /// All but those of whose kind others are urgent.
    First,
    /// Only these.
    Later,
}

/// The order.
const ORDER: [OrderLine; 5] = [
    OrderLine { phase: Phase::Prepare, backwards: false, rooms: Which::All, who: Who::All, looks: true },
    OrderLine { phase: Phase::Retire, backwards: true, rooms: Which::NotLast, who: Who::All, looks: false },
    OrderLine { phase: Phase::Establish, backwards: false, rooms: Which::All, who: Who::First, looks: false },
    OrderLine { phase: Phase::Establish, backwards: false, rooms: Which::All, who: Who::Later, looks: true },
    OrderLine { phase: Phase::Retire, backwards: true, rooms: Which::Last, who: Who::All, looks: true },
];

/// Goes through `house`, in which everything was seen and planned. What it leaves behind is so, too.
///
/// # Errors
/// If a room could not be looked at: what depends on it is left as it is.
pub async fn go_through<H: Hands>(house: &mut House<'_>, hands: &mut H) -> Result<(), H::Halt> {
    let mut changed: Vec<&str> = Vec::new();
    let urgent: Vec<Subject> = house.rooms().iter().flat_map(|room| room.urgent()).collect();
    let is_later =
        |subject: &Subject| urgent.iter().any(|first| first.kind() == subject.kind()) && !urgent.contains(subject);
    for OrderLine { phase, backwards, rooms: which, who, looks } in &ORDER {
        let whose = |subject: &Subject| match who {
            Who::All => true,
            Who::First => !is_later(subject),
            Who::Later => is_later(subject),
        };
        if *which == Which::Last && !(house.lets_go() && hands.may_let_go().await) {
            break;
        }
        let mut rooms = house.rooms_mut();
        if *backwards {
            rooms.reverse();
        }
        for room in rooms {
            let takes_part = *which == Which::All || room.lets_go_last() == (*which == Which::Last);
            if takes_part && hands.act(room, *phase, &whose).await {
                changed.push(room.name());
            }
        }
        if *looks && !changed.is_empty() {
            for room in house.rooms_mut() {
                if changed.contains(&room.name()) || room.affected_by().iter().any(|of| changed.contains(of)) {
                    hands.look(room).await?;
                }
            }
            changed.clear();
            house.plan();
        }
        if *phase == Phase::Prepare {
            hands.prepared(house);
        }
    }
    Ok(())
}

impl House<'_> {
    /// Whether rooms that let go last may: who needs something of them needs nothing else any more.
    fn lets_go(&self) -> bool {
        let rooms = self.rooms();
        let mut last = rooms.iter().filter(|room| room.lets_go_last());
        last.all(|room| {
            let mut needy = rooms.iter().filter(|needy| needy.needs_rooms().contains(&room.name()));
            room.lacking().is_empty() && needy.all(|needy| needy.satisfied() && needy.is_idle())
        })
    }
}
