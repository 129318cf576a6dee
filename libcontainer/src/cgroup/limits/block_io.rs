//! `linux.resources.blockIO` on both versions: weights, of which the scheduler in use decides the file, and throttles a device.

use crate::config::{BlockIo, ThrottleDevice, WeightDevice};

use super::{Step, Steps, Write};

/// The files of a version.
pub(super) struct Files {
    controller: &'static str,
    /// (file, weights as they are): the first that is there takes it. BFQ's is only there while its module is.
    weight: [(&'static str, Scale); 2],
    weight_device: [(&'static str, Scale); 2],
    /// v1: of the CFQ scheduler, which Linux 5.0 removed.
    leaf: Option<[&'static str; 2]>,
    /// (file, word before the rate): read bytes, written bytes, reads, writes.
    throttle: [(&'static str, &'static str); 4],
    /// What takes a throttle off.
    no_limit: &'static str,
}

#[derive(Clone, Copy)]
enum Scale {
    /// 10 to 1000.
    AsGiven,
    /// 1 to 10000, on a straight line.
    Stretched,
}

impl Scale {
    fn of(self, weight: u16) -> u64 {
        match self {
            Scale::AsGiven => weight.into(),
            Scale::Stretched => 1 + u64::from(weight).saturating_sub(10) * 9999 / 990,
        }
    }
}

impl Files {
    pub(super) const UNIFIED: Files = Files {
        controller: "io",
        weight: [
            ("io.bfq.weight", Scale::AsGiven),
            ("io.weight", Scale::Stretched),
        ],
        weight_device: [
            ("io.bfq.weight", Scale::AsGiven),
            ("io.weight", Scale::Stretched),
        ],
        leaf: None,
        throttle: [
            ("io.max", "rbps="),
            ("io.max", "wbps="),
            ("io.max", "riops="),
            ("io.max", "wiops="),
        ],
        no_limit: "max",
    };

    pub(super) const LEGACY: Files = Files {
        controller: "blkio",
        weight: [
            ("blkio.weight", Scale::AsGiven),
            ("blkio.bfq.weight", Scale::AsGiven),
        ],
        weight_device: [
            ("blkio.weight_device", Scale::AsGiven),
            ("blkio.bfq.weight_device", Scale::AsGiven),
        ],
        leaf: Some(["blkio.leaf_weight", "blkio.leaf_weight_device"]),
        throttle: [
            ("blkio.throttle.read_bps_device", ""),
            ("blkio.throttle.write_bps_device", ""),
            ("blkio.throttle.read_iops_device", ""),
            ("blkio.throttle.write_iops_device", ""),
        ],
        no_limit: "0",
    };
}

pub(super) fn plan(block_io: &BlockIo, files: &Files, steps: &mut Steps) {
    if let Some(weight) = block_io.weight {
        let key = ["blockIO", "weight"];
        first_present(files, &files.weight, weight, "", &key, steps);
    }
    if let (Some(weight), Some([file, _])) = (block_io.leaf_weight, files.leaf) {
        let key = ["blockIO", "leafWeight"];
        steps.set(files.controller, file, Some(weight), &key);
    }
    for (index, device) in block_io.weight_device.iter().enumerate() {
        weight_device(device, &index.to_string(), files, steps);
    }
    let lists = [
        ("throttleReadBpsDevice", &block_io.throttle_read_bps_device),
        (
            "throttleWriteBpsDevice",
            &block_io.throttle_write_bps_device,
        ),
        (
            "throttleReadIOPSDevice",
            &block_io.throttle_read_iops_device,
        ),
        (
            "throttleWriteIOPSDevice",
            &block_io.throttle_write_iops_device,
        ),
    ];
    for ((name, devices), (file, word)) in lists.into_iter().zip(files.throttle) {
        for (index, device) in devices.iter().enumerate() {
            let value = throttle(device, word, files.no_limit);
            let key = ["blockIO", name, &index.to_string()];
            steps.set(files.controller, file, Some(value), &key);
        }
    }
}

fn weight_device(device: &WeightDevice, index: &str, files: &Files, steps: &mut Steps) {
    let number = format!("{}:{} ", device.major, device.minor);
    if let Some(weight) = device.weight {
        let key = ["blockIO", "weightDevice", index, "weight"];
        first_present(files, &files.weight_device, weight, &number, &key, steps);
    }
    if let (Some(weight), Some([_, file])) = (device.leaf_weight, files.leaf) {
        let key = ["blockIO", "weightDevice", index, "leafWeight"];
        let value = format!("{number}{weight}");
        steps.set(files.controller, file, Some(value), &key);
    }
}

fn first_present(
    files: &Files,
    choice: &[(&'static str, Scale)],
    weight: u16,
    before: &str,
    key: &[&str],
    steps: &mut Steps,
) {
    let write = |&(file, scale): &(&'static str, Scale)| Write {
        controller: files.controller.into(),
        file: file.into(),
        value: format!("{before}{}", scale.of(weight)),
        at: steps.origin.pointer(key),
    };
    let writes = choice.iter().map(write).collect();
    steps.push(Step::FirstPresent(writes));
}

fn throttle(device: &ThrottleDevice, word: &str, no_limit: &str) -> String {
    let ThrottleDevice { major, minor, rate } = device;
    match rate {
        0 => format!("{major}:{minor} {word}{no_limit}"),
        _ => format!("{major}:{minor} {word}{rate}"),
    }
}
