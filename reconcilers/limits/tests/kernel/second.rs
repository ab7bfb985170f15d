//! The room against cgroups-rs: what one of them sets, the other one reads.

use std::{collections::BTreeMap, path::Path};

use catenoid_core::{Planner as _, Reconciler as _};
use catenoid_limits::{Bounds, Control, Desired, Limits, LimitsPlanner, Value};
use cgroups_rs::{
    MaxValue,
    cpu::CpuController,
    memory::{MemController, SetMemory},
    pid::PidController,
};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use super::{Kernel, any_limits, converge};

const CASES: usize = 60;

/// One group, as cgroups-rs has it.
struct Theirs {
    cpu: CpuController,
    memory: MemController,
    pids: PidController,
}

impl Theirs {
    fn of(group: &Path) -> Self {
        let group = || group.to_owned();
        Self {
            cpu: CpuController::new(group(), true),
            memory: MemController::new(group(), true),
            pids: PidController::new(group(), true),
        }
    }

    /// All limits that it has a reader for; it has none for the out-of-memory killer's.
    fn read(&self) -> BTreeMap<Control, Value> {
        let memory = self.memory.get_mem().unwrap();
        let (quota, period) = (self.cpu.cfs_quota().unwrap(), self.cpu.cfs_period().unwrap());
        let scaled = number(quota) * 1000;
        assert_eq!(scaled % period, 0, "the room sets whole thousandths");
        BTreeMap::from([
            (Control::CPU, Value::At(scaled / period)),
            (Control::MEMORY, value(memory.max.unwrap())),
            (Control::PIDS, value(self.pids.get_pid_max().unwrap())),
            (Control::RESERVE, value(memory.min.unwrap())),
            // It reads `max` as 0 as well.
            (Control::SWAP, Value::At(number(self.memory.memswap_v2().limit_in_bytes))),
        ])
    }

    fn set(&self, bounds: &Bounds, period: u64) {
        let signed = |number: u64| i64::try_from(number).unwrap();
        let bytes = |number| Some(MaxValue::Value(signed(number)));
        let memory = SetMemory {
            max: bytes(bounds.limits.memory.bytes()),
            min: bytes(bounds.reserve.bytes()),
            ..SetMemory::default()
        };
        self.memory.set_mem(memory).unwrap();
        self.memory.set_memswap_limit(0).unwrap();
        self.pids.set_pid_max(MaxValue::Value(bounds.limits.pids.into())).unwrap();
        let quota = u64::from(bounds.limits.cpu.thousandths()) * period / 1000;
        self.cpu.set_cfs_quota_and_period(Some(signed(quota)), Some(period)).unwrap();
    }

    fn lift(&self) {
        let memory = SetMemory { max: Some(MaxValue::Max), ..SetMemory::default() };
        self.memory.set_mem(memory).unwrap();
        self.memory.set_memswap_limit(-1).unwrap();
        self.pids.set_pid_max(MaxValue::Max).unwrap();
        self.cpu.set_cfs_quota(-1).unwrap();
    }
}

fn number(signed: i64) -> u64 {
    signed.try_into().unwrap()
}

fn value(theirs: MaxValue) -> Value {
    match theirs {
        MaxValue::Max => Value::Word("max".into()),
        MaxValue::Value(signed) => Value::At(number(signed)),
    }
}

fn asked(bounds: &Bounds) -> BTreeMap<Control, Value> {
    BTreeMap::from([
        (Control::CPU, Value::At(bounds.limits.cpu.thousandths().into())),
        (Control::MEMORY, Value::At(bounds.limits.memory.bytes())),
        (Control::PIDS, Value::At(bounds.limits.pids.into())),
        (Control::RESERVE, Value::At(bounds.reserve.bytes())),
        (Control::SWAP, Value::At(0)),
    ])
}

#[tokio::test]
#[ignore = "needs the cpu, memory and pids controllers in cgroup v2: runs in vm_rooms_hold_on_the_device_kernel"]
async fn mountns_any_limits_are_to_cgroups_rs_what_they_are_to_the_room() {
    let kernel = Kernel::mounted("second");
    let room = Limits::open(&kernel.base, None).unwrap();
    let theirs = Theirs::of(&kernel.base.join("catenoid/web"));
    let observed = async |asked: &BTreeMap<Control, Value>| -> BTreeMap<Control, Value> {
        let group = room.observe().await.unwrap().groups.remove("web").unwrap();
        asked.keys().map(|control| (*control, group[control].clone())).collect()
    };
    // Whole thousandths of a processor are whole microseconds of each.
    let cases = (any_limits(), any_limits(), prop_oneof![Just(100_000_u64), Just(200_000), Just(1_000_000)]);
    let mut runner = TestRunner::deterministic();
    for _ in 0..CASES {
        let (first, second, period) = cases.new_tree(&mut runner).unwrap().current();
        let desired = |bounds| Desired { containers: BTreeMap::from([("web".parse().unwrap(), bounds)]) };
        converge(&room, &desired(first)).await;
        assert_eq!(theirs.read(), asked(&first));
        theirs.set(&second, period);
        assert_eq!(observed(&asked(&second)).await, asked(&second), "period {period}");
        assert!(
            LimitsPlanner::plan(&desired(second), &room.observe().await.unwrap()).is_empty(),
            "nothing is left to do"
        );
    }
    theirs.lift();
    for (control, value) in observed(&asked(&any_limits().new_tree(&mut runner).unwrap().current())).await {
        // It cannot lift what is kept for a group.
        if control != Control::RESERVE {
            assert_eq!(value, Value::Word("max".into()), "{control}");
        }
    }
    converge(&room, &Desired { containers: BTreeMap::new() }).await;
}
