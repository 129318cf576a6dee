//! Contents as kernels from 3.10 to 6.18 show them, and what no kernel shows.

use super::*;

#[test]
fn numbers_in_every_form_the_kernel_writes() {
    for (text, expected) in [
        ("0\n", Some(0)),
        ("max\n", Some(UNLIMITED)),
        ("9223372036854771712\n", Some(9_223_372_036_854_771_712)),
        ("18446744073709551615", Some(u64::MAX)),
        // Counters of v1 that went below zero.
        ("-4096\n", Some(0)),
        ("-99999999999999999999\n", Some(0)),
        ("18446744073709551616", None),
        ("", None),
        ("-", None),
        ("0x10", None),
        ("1 2", None),
        ("\u{fffd}", None),
    ] {
        assert_eq!(number(text), expected, "{text:?}");
    }
}

#[test]
fn flat_files_may_hold_lines_of_any_other_kind() {
    let text = "anon 53248\nfile 0\n\nnovalue\nnegative -1\n 7\ntwo 1 2\nlast 9";
    let found: Vec<_> = flat(text).collect();
    assert_eq!(
        found,
        [
            ("anon", 53248),
            ("file", 0),
            ("negative", 0),
            ("", 7),
            ("last", 9)
        ]
    );
    assert_eq!(value("populated 1\nfrozen 0\n", "populated"), Some(1));
    assert_eq!(value("populated_not 1\n", "populated"), None);
}

#[test]
fn lists_of_processors() {
    assert_eq!(list("0-1\n"), [0, 1]);
    assert_eq!(list("0-2,7,9-10"), [0, 1, 2, 7, 9, 10]);
    assert_eq!(list("\n"), [0u16; 0]);
    assert_eq!(list("3-1,x,5-y,-,70000,4"), [4]);
    assert_eq!(list("65534-65535"), [65534, 65535]);
}

#[test]
fn cpuacct_by_processor() {
    assert_eq!(numbers("7151687 2388077 \n"), [7_151_687, 2_388_077]);
    assert_eq!(
        usage_all("cpu user system\n0 4000000 5000000\n1 0 7\n"),
        (vec![4_000_000, 0], vec![5_000_000, 7])
    );
    assert_eq!(
        usage_all("cpu user system\n0 4000000\nx\n"),
        (vec![], vec![])
    );
    assert_eq!(usage_all(""), (vec![], vec![]));
}

#[test]
fn pressure_with_and_without_its_second_line() {
    let text = "some avg10=0.12 avg60=1.50 avg300=100.00 total=2294\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=566\n";
    let found = pressure(text);
    let some = Stall {
        avg10: 0.12,
        avg60: 1.5,
        avg300: 100.0,
        total: 2294,
    };
    assert_eq!(found.some, some);
    assert_eq!(found.full.total, 566);
    // cpu.pressure before 5.13.
    let found = pressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=3\n");
    assert_eq!((found.some.total, found.full), (3, Stall::default()));
    assert_eq!(
        pressure("some avg10=NaN avg60=inf avg300=x total=-1 avg10\nfull\n"),
        Pressure::default()
    );
}

#[test]
fn devices_of_io_stat() {
    let text = "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=3 dios=4\n\
        8:16 rbytes=1 cost.usage=7\n8:0 \n253:0\nrbytes=1\nx:y rbytes=1\n";
    let found = io_stat(text);
    let whole = IoDevice {
        major: 254,
        minor: 0,
        read_bytes: 4096,
        written_bytes: 8192,
        reads: 1,
        writes: 2,
        discarded_bytes: 3,
        discards: 4,
    };
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], whole);
    assert_eq!(
        (found[1].major, found[1].minor, found[1].read_bytes),
        (8, 16, 1)
    );
}

#[test]
fn entries_of_blkio() {
    let entry = |operation: &str, value| IoEntry {
        major: 8,
        minor: 0,
        operation: operation.to_owned(),
        value,
    };
    let text = "8:0 Read 1282048\n8:0 Write 2195456\n8:0 Total 3477504\nTotal 3477504\n";
    assert_eq!(
        blkio(text),
        [
            entry("Read", 1_282_048),
            entry("Write", 2_195_456),
            entry("Total", 3_477_504)
        ]
    );
    assert_eq!(blkio("8:0 6792\n"), [entry("", 6792)]);
    assert_eq!(blkio("Total 0\n8:0\n8\n\nx:0 Read 1\n8:0 Read x\n"), []);
}

#[test]
fn events_of_memory_on_both_versions() {
    let found = memory_events(
        "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\nsock_throttled 7\n",
    );
    let MemoryEvents {
        low,
        high,
        max,
        oom,
        oom_kill,
        oom_group_kill,
    } = found;
    assert_eq!(
        [low, high, max, oom, oom_kill, oom_group_kill],
        [1, 2, 3, 4, 5, 6]
    );
    let found = oom_control("oom_kill_disable 1\nunder_oom 0\noom_kill 2\n");
    assert_eq!(
        (found.kill_disabled, found.under_oom, found.oom_kill),
        (true, false, 2)
    );
    // Before 4.13.
    assert_eq!(oom_control("oom_kill_disable 0\nunder_oom 1\n").oom_kill, 0);
}

#[test]
fn devices_of_rdma() {
    let text = "mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=3 hca_object=max\nbad\n";
    assert_eq!(rdma(text), [("mlx4_0", 2, 2000), ("ocrdma1", 3, u32::MAX)]);
}

/// Every prefix and every file of another kind: nothing panics.
#[test]
fn anything_may_be_in_a_file() {
    let texts = [
        "8:0 Read 1282048\nTotal 0\n",
        "some avg10=0.12 avg60=1.50 avg300=100.00 total=2294\n",
        "oom_kill 5\u{fffd}\n\0\0 = = =\n- - -\n:::\n",
        "0-2,7,9-10 99999999999999999999999999 -\n",
        "mlx4_0 hca_handle=2 hca_object=max",
    ];
    for text in texts {
        for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
            let part = &text[..end];
            let plain = (number(part), list(part), numbers(part), usage_all(part));
            let lines = (pressure(part), io_stat(part), blkio(part), rdma(part));
            let flags = (memory_events(part), oom_control(part), flat(part).count());
            drop((plain, lines, flags));
        }
    }
}
