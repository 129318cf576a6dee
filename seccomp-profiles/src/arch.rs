//! The architectures a filter can know: how the kernel marks them in `seccomp_data.arch`, how wide a register is there, in which order its
//! halves lie, and which of them fold many calls into one (`socketcall`, `ipc`).
//!
//! Source: linux/audit.h, and each architecture's entry code.

use std::fmt;

/// An architecture by its name in the OCI specification (config-linux.md, "seccomp").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the SCMP_ARCH_ constant of its name")]
pub enum Arch {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
    Riscv64,
    Loongarch64,
    Ppc64,
    Ppc64le,
    Ppc,
    S390x,
    S390,
    Mips64,
    Mipsel64,
    Mips64n32,
    Mipsel64n32,
    Mips,
    Mipsel,
}

/// How wide a system call's argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Only the low half of `seccomp_data.args` means anything.
    Bits32,
    Bits64,
}

/// One row of facts for each architecture.
struct Facts {
    name: &'static str,
    /// AUDIT_ARCH_…
    audit: u32,
    /// The column in the tables of numbers.
    family: usize,
    width: Width,
    big_endian: bool,
    /// Calls of sockets and of System V IPC also arrive folded into `socketcall` and `ipc`.
    folds: bool,
}

const LE: u32 = 0x4000_0000;
const B64: u32 = 0x8000_0000;
const N32: u32 = 0x2000_0000;

const fn facts(
    name: &'static str,
    audit: u32,
    family: usize,
    width: Width,
    big_endian: bool,
    folds: bool,
) -> Facts {
    Facts {
        name,
        audit,
        family,
        width,
        big_endian,
        folds,
    }
}

impl Arch {
    pub const ALL: [Self; 18] = [
        Self::X86_64,
        Self::X86,
        Self::X32,
        Self::Aarch64,
        Self::Arm,
        Self::Riscv64,
        Self::Loongarch64,
        Self::Ppc64,
        Self::Ppc64le,
        Self::Ppc,
        Self::S390x,
        Self::S390,
        Self::Mips64,
        Self::Mipsel64,
        Self::Mips64n32,
        Self::Mipsel64n32,
        Self::Mips,
        Self::Mipsel,
    ];

    const fn facts(self) -> Facts {
        use Width::{Bits32, Bits64};
        match self {
            Self::X86_64 => facts("SCMP_ARCH_X86_64", 62 | B64 | LE, 0, Bits64, false, false),
            Self::X86 => facts("SCMP_ARCH_X86", 3 | LE, 1, Bits32, false, true),
            // The kernel says x86_64: only bit 30 of the number tells them apart.
            Self::X32 => facts("SCMP_ARCH_X32", 62 | B64 | LE, 2, Bits32, false, false),
            Self::Aarch64 => facts("SCMP_ARCH_AARCH64", 183 | B64 | LE, 3, Bits64, false, false),
            Self::Arm => facts("SCMP_ARCH_ARM", 40 | LE, 4, Bits32, false, false),
            Self::Riscv64 => facts("SCMP_ARCH_RISCV64", 243 | B64 | LE, 5, Bits64, false, false),
            Self::Loongarch64 => facts(
                "SCMP_ARCH_LOONGARCH64",
                258 | B64 | LE,
                6,
                Bits64,
                false,
                false,
            ),
            Self::Ppc64 => facts("SCMP_ARCH_PPC64", 21 | B64, 7, Bits64, true, true),
            Self::Ppc64le => facts("SCMP_ARCH_PPC64LE", 21 | B64 | LE, 7, Bits64, false, true),
            Self::Ppc => facts("SCMP_ARCH_PPC", 20, 8, Bits32, true, true),
            Self::S390x => facts("SCMP_ARCH_S390X", 22 | B64, 9, Bits64, true, true),
            Self::S390 => facts("SCMP_ARCH_S390", 22, 10, Bits32, true, true),
            Self::Mips64 => facts("SCMP_ARCH_MIPS64", 8 | B64, 11, Bits64, true, false),
            Self::Mipsel64 => facts("SCMP_ARCH_MIPSEL64", 8 | B64 | LE, 11, Bits64, false, false),
            Self::Mips64n32 => facts(
                "SCMP_ARCH_MIPS64N32",
                8 | B64 | N32,
                12,
                Bits32,
                true,
                false,
            ),
            Self::Mipsel64n32 => facts(
                "SCMP_ARCH_MIPSEL64N32",
                8 | B64 | LE | N32,
                12,
                Bits32,
                false,
                false,
            ),
            Self::Mips => facts("SCMP_ARCH_MIPS", 8, 13, Bits32, true, true),
            Self::Mipsel => facts("SCMP_ARCH_MIPSEL", 8 | LE, 13, Bits32, false, true),
        }
    }

    /// The architecture with this name in the OCI specification.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.name() == name)
    }

    /// The architecture this program was built for; None if it is not one of ours.
    pub const fn native() -> Option<Self> {
        Some(
            if cfg!(all(target_arch = "x86_64", target_pointer_width = "32")) {
                Self::X32
            } else if cfg!(target_arch = "x86_64") {
                Self::X86_64
            } else if cfg!(target_arch = "x86") {
                Self::X86
            } else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
                Self::Aarch64
            } else if cfg!(all(target_arch = "arm", target_endian = "little")) {
                Self::Arm
            } else if cfg!(target_arch = "riscv64") {
                Self::Riscv64
            } else if cfg!(target_arch = "loongarch64") {
                Self::Loongarch64
            } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
                Self::Ppc64le
            } else if cfg!(target_arch = "powerpc64") {
                Self::Ppc64
            } else if cfg!(target_arch = "powerpc") {
                Self::Ppc
            } else if cfg!(target_arch = "s390x") {
                Self::S390x
            } else if cfg!(all(target_arch = "mips64", target_endian = "little")) {
                Self::Mipsel64
            } else if cfg!(target_arch = "mips64") {
                Self::Mips64
            } else if cfg!(all(target_arch = "mips", target_endian = "little")) {
                Self::Mipsel
            } else if cfg!(target_arch = "mips") {
                Self::Mips
            } else {
                return None;
            },
        )
    }

    /// The other architectures whose programs a kernel of this one may run: a profile that leaves them out kills those programs.
    pub const fn companions(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::X86, Self::X32],
            Self::Aarch64 => &[Self::Arm],
            Self::S390x => &[Self::S390],
            Self::Ppc64 => &[Self::Ppc],
            Self::Mips64 => &[Self::Mips, Self::Mips64n32],
            Self::Mipsel64 => &[Self::Mipsel, Self::Mipsel64n32],
            _ => &[],
        }
    }

    /// Its name in the OCI specification, `SCMP_ARCH_…`.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// What the kernel puts into `seccomp_data.arch` (AUDIT_ARCH_…). x86_64 and x32 have the same.
    pub const fn audit(self) -> u32 {
        self.facts().audit
    }

    pub const fn width(self) -> Width {
        self.facts().width
    }

    /// The first half of a 64-bit word in `seccomp_data` is the high one.
    pub const fn big_endian(self) -> bool {
        self.facts().big_endian
    }

    pub(crate) const fn family(self) -> usize {
        self.facts().family
    }

    pub(crate) const fn folds(self) -> bool {
        self.facts().folds
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
