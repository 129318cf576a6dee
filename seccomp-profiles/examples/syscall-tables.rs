//! Renews `src/tables/syscalls.rs` from headers of the kernel:
//!
//! ```text
//! cargo run -p garboard-seccomp-profiles --example syscall-tables -- FAMILY=HEADER… > seccomp-profiles/src/tables/syscalls.rs
//! ```
//!
//! FAMILY is a column of the table (`x86_64`, `mips64n32`, …), HEADER anything that defines `__NR_name` as a number: a kernel's installed
//! `asm/unistd_64.h` (`make headers_install ARCH=…`), or the `general.rs` of the crate linux-raw-sys, which is made from those headers and has
//! nearly all architectures in one download. A family may be named twice: the second file adds what the first lacks. Linux gives every new
//! call the same number everywhere since 403, so an older header of a rare family is completed from the others (mind the family's base).
//! What the numbers came from is said with `--source TEXT`, and stands in the file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The columns, and what is added to a number common to all architectures.
const FAMILIES: [(&str, u32); 14] = [
    ("x86_64", 0),
    ("x86", 0),
    ("x32", 0x4000_0000),
    ("aarch64", 0),
    ("arm", 0),
    ("riscv64", 0),
    ("loongarch64", 0),
    ("ppc64", 0),
    ("ppc", 0),
    ("s390x", 0),
    ("s390", 0),
    ("mips64", 5000),
    ("mips64n32", 6000),
    ("mips", 4000),
];

/// The first call of Linux 5.1: from here on a number means the same on every architecture.
const COMMON: u32 = 424;

/// Not calls: limits, masks, and the ranges kept for an architecture's own.
const NOT_CALLS: [&str; 9] = [
    "syscalls",
    "Linux",
    "Linux_syscalls",
    "O32_Linux",
    "O32_Linux_syscalls",
    "64_Linux",
    "64_Linux_syscalls",
    "N32_Linux",
    "N32_Linux_syscalls",
];

type Table = BTreeMap<String, [Option<u32>; FAMILIES.len()]>;

fn main() -> Result<(), String> {
    let mut table = Table::new();
    let mut source = "not said".to_owned();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--source" {
            source = arguments.next().ok_or("--source needs a text")?;
            continue;
        }
        let (family, header) = argument
            .split_once('=')
            .ok_or_else(|| format!("{argument}: not FAMILY=HEADER"))?;
        let column = FAMILIES
            .iter()
            .position(|(name, _)| *name == family)
            .ok_or_else(|| format!("{family}: no such family"))?;
        let text = std::fs::read_to_string(header).map_err(|error| format!("{header}: {error}"))?;
        read(&text, column, &mut table);
    }
    complete(&mut table);
    print!("{}", write(&table, &source));
    Ok(())
}

/// Takes `#define __NR_read 0`, `#define __NR_read (__NR_Linux + 0)` and `pub const __NR_read: u32 = 0;`.
fn read(text: &str, column: usize, table: &mut Table) {
    let base = FAMILIES[column].1;
    for line in text.lines() {
        let Some((before, rest)) = line.split_once("_NR_") else {
            continue;
        };
        let arm = before.ends_with("__ARM");
        let is_definition = before.trim_start().starts_with("#define")
            || before.trim_start().starts_with("pub const");
        let name: String = rest
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        let hole = ["reserved", "unused"].iter().any(|hole| {
            name.strip_prefix(hole)
                .is_some_and(|rest| rest.parse::<u32>().is_ok())
        });
        let wanted = name.chars().all(|c| !c.is_ascii_uppercase())
            && !NOT_CALLS.contains(&name.as_str())
            && !hole;
        if !is_definition || !wanted || (arm && name == "BASE") {
            continue;
        }
        let digits = line.trim_end_matches([';', ')', ' ', '\t']);
        let start = digits
            .rfind(|c: char| !c.is_ascii_alphanumeric())
            .map_or(0, |at| at + 1);
        let Ok(number) = digits[start..].parse::<u32>() else {
            continue;
        };
        let number = if line.contains('+') {
            base + number
        } else {
            number
        };
        table.entry(name).or_default()[column].get_or_insert(number);
    }
}

/// Gives a family with older headers the calls that came later, which have the same number everywhere.
fn complete(table: &mut Table) {
    let column = |family| {
        FAMILIES
            .iter()
            .position(|(name, _)| *name == family)
            .unwrap_or_default()
    };
    let (s390x, s390) = (column("s390x"), column("s390"));
    for numbers in table.values_mut() {
        // Both come from one table in the kernel, in which new calls are for both.
        numbers[s390] = numbers[s390].or(numbers[s390x].filter(|number| *number >= COMMON));
        let common = numbers
            .iter()
            .zip(FAMILIES)
            .find_map(|(number, (_, base))| number.map(|n| n.wrapping_sub(base)));
        let Some(common) = common.filter(|number| *number >= COMMON) else {
            continue;
        };
        let everywhere = numbers
            .iter()
            .zip(FAMILIES)
            .filter(|(number, (_, base))| **number == Some(common + base))
            .count();
        // Two or three families out of date at most: a call that is missing in more is not for every architecture (memfd_secret).
        if everywhere + 3 >= FAMILIES.len() {
            for (number, (_, base)) in numbers.iter_mut().zip(FAMILIES) {
                number.get_or_insert(common + base);
            }
        }
    }
}

fn write(table: &Table, source: &str) -> String {
    let mut text = format!(
        "//! The numbers of the system calls, written by `examples/syscall-tables.rs`: not for editing.\n//!\n//! Source: {source}.\n\n\
         /// The columns of [`CALLS`].\n#[rustfmt::skip]\npub(super) const FAMILIES: [&str; {}] = [{}];\n\n\
         const NONE: u32 = super::NONE;\n\n\
         /// Sorted by name; `NONE` where a family lacks the call.\n#[allow(clippy::large_const_arrays, reason = \"made into smaller tables when this crate is compiled\")]\n\
         #[rustfmt::skip]\n\
         pub(super) const CALLS: [(&str, [u32; {}]); {}] = [\n",
        FAMILIES.len(),
        FAMILIES.map(|(name, _)| format!("\"{name}\"")).join(", "),
        FAMILIES.len(),
        table.len()
    );
    for (name, numbers) in table {
        let numbers =
            numbers.map(|number| number.map_or("NONE".to_owned(), |number| number.to_string()));
        let _ = writeln!(text, "    (\"{name}\", [{}]),", numbers.join(", ")); // writing to a string cannot fail
    }
    text.push_str("];\n");
    text
}
