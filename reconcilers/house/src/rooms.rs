//! What follows from the list of rooms: one field for each room, and all of them as [`catenoid_core::Room`].

macro_rules! rooms {
    ($($room:ident: $of:ident as $planner:ident),+ $(,)?) => {
        /// The names of all rooms, in their order.
        pub const ROOMS: &[&str] = &[$(<$of::$planner as Planner>::NAME),+];

        /// What a manifest asks of every room. It is worked out once, however often it is compared with what is there.
        #[derive(Debug, Clone)]
        #[allow(missing_docs, reason = "one for each room, by its name")]
        pub struct DesiredState {
            $(pub $room: $of::Desired),+
        }

        /// What each room observed.
        #[derive(Debug, Clone, Default, PartialEq)]
        #[allow(missing_docs, reason = "one for each room, by its name")]
        pub struct Observed {
            $(pub $room: $of::Observed),+
        }

        /// Who does the steps of each room.
        #[allow(missing_docs, reason = "one for each room, by its name")]
        pub struct Doors {
            $(pub $room: Box<dyn Door<$of::$planner> + Send>),+
        }

        /// All rooms in one pass or forecast.
        #[allow(missing_docs, reason = "one for each room, by its name")]
        pub struct House<'a> {
            $(pub $room: Slot<'a, $of::$planner>),+
        }

        impl DesiredState {
            fn of(asked: &Asked<'_>) -> Self {
                Self { $($room: $of::$planner::desired(asked)),+ }
            }

            /// Lets `subject` not be there for now, whatever the manifest says, for `reason`.
            pub fn hold_back(&mut self, subject: &Subject, reason: &str) {
                $($of::$planner::hold_back(&mut self.$room, subject, reason);)+
            }

            /// The rooms as they were `observed`, without doors.
            #[must_use]
            pub fn house<'a>(&'a self, observed: &'a Observed) -> House<'a> {
                House { $($room: Slot::new(&self.$room, Cow::Borrowed(&observed.$room), None)),+ }
            }

            /// The rooms with their `doors`, before the first look.
            #[must_use]
            pub fn enter<'a>(&'a self, doors: &'a Doors) -> House<'a> {
                House { $($room: Slot::new(&self.$room, Cow::default(), Some(&*doors.$room))),+ }
            }
        }

        impl House<'_> {
            /// All of them, in their order.
            #[must_use]
            pub fn rooms(&self) -> [&dyn Room; ROOMS.len()] {
                [$(&self.$room),+]
            }

            /// The same, to be changed.
            pub fn rooms_mut(&mut self) -> [&mut dyn Room; ROOMS.len()] {
                [$(&mut self.$room),+]
            }

            /// What was seen last.
            #[must_use]
            pub fn into_observed(self) -> Observed {
                Observed { $($room: self.$room.into_observed()),+ }
            }
        }

        impl Observed {
            /// Reads what a status carries. A room that it does not carry observed nothing.
            ///
            /// # Errors
            /// What is wrong with the first room that cannot be read.
            pub fn from_status(observed: &BTreeMap<String, Value>) -> Result<Self, serde_json::Error> {
                fn room<P: Planner>(observed: &BTreeMap<String, Value>) -> Result<P::Observed, serde_json::Error> {
                    observed.get(P::NAME).map_or_else(|| Ok(P::Observed::default()), P::Observed::deserialize)
                }
                Ok(Self { $($room: room::<$of::$planner>(observed)?),+ })
            }

            /// What a status carries of it.
            #[must_use]
            pub fn to_status(&self) -> BTreeMap<String, Value> {
                fn room<P: Planner>(observed: &P::Observed) -> (String, Value) {
                    (P::NAME.to_owned(), serde_json::to_value(observed).expect("what was observed has text keys"))
                }
                BTreeMap::from([$(room::<$of::$planner>(&self.$room)),+])
            }
        }

        /// All rooms on a kernel that holds what their steps' models say.
        #[cfg(feature = "testing")]
        #[derive(Debug)]
        #[allow(missing_docs, reason = "one for each room, by its name")]
        pub struct World {
            $(pub $room: Arc<Modelled<$of::$planner>>,)+
            /// What was tried in all of them.
            pub record: Arc<Record>,
        }

        #[cfg(feature = "testing")]
        impl World {
            /// With what was `observed`.
            #[must_use]
            pub fn new(observed: &Observed) -> Self {
                let record = Arc::<Record>::default();
                Self { $($room: Arc::new(Modelled::new(observed.$room.clone(), record.clone())),)+ record }
            }

            /// Ways in.
            #[must_use]
            pub fn doors(&self) -> Doors {
                Doors { $($room: Box::new(self.$room.clone())),+ }
            }

            /// Has what was `observed` there from now on.
            pub fn put(&self, observed: &Observed) {
                $(self.$room.model().observed = observed.$room.clone();)+
            }

            /// What is there now.
            #[must_use]
            pub fn observed(&self) -> Observed {
                Observed { $($room: self.$room.model().observed.clone()),+ }
            }
        }
    };
}

pub(crate) use rooms;
