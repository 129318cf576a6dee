/*
 * The floor: the kernel work of a container start and nothing else, to measure runtimes against.
 *
 *   floor run ROOTFS CMD [ARG]...        the default bundle of `runc spec`: cgroup (v2) with the default device program, five namespaces,
 *                                        the mounts, devices and links, masked and read-only paths, capabilities, exec, wait, rmdir
 *   floor exec PID CGROUP CMD [ARG]...   join the namespaces and the cgroup of PID, exec, wait
 *   floor hold MEMORY_CGROUP ROOTFS      the namespaces and mounts of `run`, made inside a v1 memory cgroup, held by a sleeping process
 *                                        whose pid is printed; ends it with SIGKILL
 *   floor limits COUNT DIR... [-- [FILE VALUE]...]
 *                                        COUNT times: makes the cgroup directories, writes each value, removes the directories
 *   floor rss CMD [ARG]...               run CMD and print its peak resident set in kB (asked from a small process: a child begins with
 *                                        its parent's peak)
 *
 * No configuration is read, nothing is recorded, and no error is handled but by giving up. Build: cc -O2 -static.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
#define TRY(call) do { if ((long)(call) < 0) fail(#call); } while (0)

static void fail(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	_exit(125);
}

/* The default device list as a program: r2 type and access, r3 type, r4 major, r5 minor. */
#define INSN(c, d, s, o, i) ((struct bpf_insn){ .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) })
#define LOAD(d, off) INSN(BPF_LDX | BPF_MEM | BPF_W, d, 1, off, 0)
#define JNE(r, imm, off) INSN(BPF_JMP | BPF_JNE | BPF_K, r, 0, off, imm)
#define RETURN(v) INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, v), INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define ALLOW(major, minor) JNE(4, major, 3), JNE(5, minor, 2), RETURN(1)
#define ALLOW_MAJOR(major) JNE(4, major, 2), RETURN(1)

static void attach_devices(int cgroup)
{
	struct bpf_insn program[] = {
		LOAD(2, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 0, 0),
		INSN(BPF_ALU | BPF_AND | BPF_K, 3, 0, 0, 0xffff),
		INSN(BPF_ALU64 | BPF_RSH | BPF_K, 2, 0, 0, 16),
		LOAD(4, 4), LOAD(5, 8),
		/* mknod of anything */
		JNE(2, BPF_DEVCG_ACC_MKNOD, 2), RETURN(1),
		/* no other block device */
		JNE(3, BPF_DEVCG_DEV_BLOCK, 2), RETURN(0),
		ALLOW(1, 3), ALLOW(1, 8), ALLOW(1, 7), ALLOW(5, 0), ALLOW(1, 5), ALLOW(1, 9),
		ALLOW_MAJOR(136), ALLOW(5, 2), ALLOW(10, 200),
		RETURN(0),
	};
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insns = (uint64_t)program, .insn_cnt = sizeof program / sizeof *program,
		.license = (uint64_t)"Apache-2.0",
	};
	int fd = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
	TRY(fd);
	union bpf_attr attach = { .target_fd = cgroup, .attach_bpf_fd = fd, .attach_type = BPF_CGROUP_DEVICE, .attach_flags = BPF_F_ALLOW_MULTI };
	TRY(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach));
	close(fd);
}

static void mounts(const char *rootfs)
{
	TRY(mount("", "/", "", MS_SLAVE | MS_REC, 0));
	TRY(mount(rootfs, rootfs, "", MS_BIND | MS_REC, 0));
	TRY(chdir(rootfs));
	TRY(mount("proc", "proc", "proc", 0, 0));
	TRY(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
	mkdir("dev/pts", 0755);
	mkdir("dev/shm", 0755);
	mkdir("dev/mqueue", 0755);
	TRY(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
	TRY(mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k"));
	TRY(mount("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, 0));
	TRY(mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, 0));
	TRY(mount("/sys/fs/cgroup", "sys/fs/cgroup", "", MS_BIND, 0));
	TRY(mount("", "sys/fs/cgroup", "", MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RELATIME | MS_RDONLY, 0));
}

static void devices(void)
{
	static const struct { const char *path; int major, minor; } nodes[] = {
		{ "dev/null", 1, 3 }, { "dev/zero", 1, 5 }, { "dev/full", 1, 7 }, { "dev/random", 1, 8 }, { "dev/urandom", 1, 9 }, { "dev/tty", 5, 0 },
	};
	umask(0);
	for (unsigned i = 0; i < 6; i++)
		TRY(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
	TRY(symlink("/proc/self/fd", "dev/fd"));
	TRY(symlink("/proc/self/fd/0", "dev/stdin"));
	TRY(symlink("/proc/self/fd/1", "dev/stdout"));
	TRY(symlink("/proc/self/fd/2", "dev/stderr"));
	TRY(symlink("/proc/kcore", "dev/core"));
	TRY(symlink("pts/ptmx", "dev/ptmx"));
	umask(022);
}

static void paths(void)
{
	static const char *read_only[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" };
	static const char *masked[] = { "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
					"/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi" };
	for (unsigned i = 0; i < sizeof read_only / sizeof *read_only; i++) {
		if (mount(read_only[i], read_only[i], "", MS_BIND | MS_REC, 0) < 0)
			continue;
		TRY(mount("", read_only[i], "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, 0));
	}
	for (unsigned i = 0; i < sizeof masked / sizeof *masked; i++) {
		if (mount("/dev/null", masked[i], "", MS_BIND, 0) < 0 && errno == ENOTDIR)
			TRY(mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, 0));
	}
}

static void enter_root(void)
{
	TRY(syscall(SYS_pivot_root, ".", "."));
	TRY(umount2(".", MNT_DETACH));
	TRY(chdir("/"));
}

static void loopback(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	TRY(fd);
	TRY(ioctl(fd, SIOCSIFFLAGS, &lo));
	close(fd);
}

static void privileges(void)
{
	const uint32_t kept = 1u << CAP_AUDIT_WRITE | 1u << CAP_KILL | 1u << CAP_NET_BIND_SERVICE;
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { .effective = kept, .permitted = kept } };
	struct rlimit files = { 1024, 1024 };
	TRY(setrlimit(RLIMIT_NOFILE, &files));
	TRY(syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, 0));
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (cap > 31 || !(kept >> cap & 1))
			prctl(PR_CAPBSET_DROP, cap);
	TRY(setgroups(0, 0));
	TRY(setresgid(0, 0, 0));
	TRY(setresuid(0, 0, 0));
	TRY(syscall(SYS_capset, &head, data));
	TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void box(const char *rootfs)
{
	mounts(rootfs);
	devices();
	enter_root();
	paths();
	TRY(mount("", "/", "", MS_REMOUNT | MS_BIND | MS_RDONLY, 0));
	TRY(sethostname("garboard", 8));
	loopback();
}

static pid_t launch(uint64_t flags, int cgroup)
{
	struct clone_args args = { .flags = flags | (cgroup < 0 ? 0 : CLONE_INTO_CGROUP), .exit_signal = SIGCHLD, .cgroup = cgroup < 0 ? 0 : cgroup };
	pid_t pid = syscall(SYS_clone3, &args, sizeof args);
	TRY(pid);
	return pid;
}

static int finish(pid_t pid)
{
	int status;
	TRY(waitpid(pid, &status, 0));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static char *environment[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", "HOME=/root", 0 };

static int run(char **argv)
{
	char path[64];
	snprintf(path, sizeof path, "/sys/fs/cgroup/garboard-test-floor-%d", getpid());
	TRY(mkdir(path, 0755));
	int cgroup = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int readable = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	attach_devices(readable);
	pid_t pid = launch(NAMESPACES | CLONE_VFORK, cgroup);
	if (pid == 0) {
		box(argv[0]);
		privileges();
		execve(argv[1], argv + 1, environment);
		fail("execve");
	}
	int code = finish(pid);
	TRY(rmdir(path));
	return code;
}

static int join(char **argv)
{
	int target = syscall(SYS_pidfd_open, atoi(argv[0]), 0);
	int cgroup = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	TRY(target);
	TRY(cgroup);
	TRY(setns(target, NAMESPACES));
	pid_t pid = launch(CLONE_VFORK, cgroup);
	if (pid == 0) {
		execve(argv[2], argv + 2, environment);
		fail("execve");
	}
	return finish(pid);
}

static int hold(char **argv)
{
	char path[4096], text[16];
	int go[2];
	TRY(pipe2(go, O_CLOEXEC));
	pid_t pid = launch(NAMESPACES, -1);
	if (pid == 0) {
		close(go[1]);
		TRY(read(go[0], text, 1));
		box(argv[1]);
		privileges();
		for (int fd = 0; fd < 16; fd++)
			close(fd);
		for (;;)
			pause();
	}
	snprintf(path, sizeof path, "%s/cgroup.procs", argv[0]);
	int procs = open(path, O_WRONLY | O_CLOEXEC);
	TRY(procs);
	int length = snprintf(text, sizeof text, "%d", pid);
	TRY(write(procs, text, length));
	TRY(write(go[1], "g", 1));
	printf("%d\n", pid);
	return 0;
}

static int limits(char **argv)
{
	char **dirs = argv + 1, **end = dirs;
	while (*end && strcmp(*end, "--"))
		end++;
	for (int left = atoi(argv[0]); left > 0; left--) {
		for (char **dir = dirs; dir < end; dir++)
			TRY(mkdir(*dir, 0755));
		for (char **at = *end ? end + 1 : end; at[0] && at[1]; at += 2) {
			int fd = open(at[0], O_WRONLY | O_CLOEXEC);
			TRY(fd);
			if (write(fd, at[1], strlen(at[1])) < 0)
				fail(at[0]);
			close(fd);
		}
		for (char **dir = dirs; dir < end; dir++)
			TRY(rmdir(*dir));
	}
	return 0;
}

static int rss(char **argv)
{
	struct rusage usage;
	int status;
	pid_t pid = fork();
	TRY(pid);
	if (pid == 0) {
		execv(argv[0], argv);
		fail("execv");
	}
	TRY(wait4(pid, &status, 0, &usage));
	printf("%ld\n", usage.ru_maxrss);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "run"))
		return run(argv + 2);
	if (argc > 4 && !strcmp(argv[1], "exec"))
		return join(argv + 2);
	if (argc > 3 && !strcmp(argv[1], "hold"))
		return hold(argv + 2);
	if (argc > 3 && !strcmp(argv[1], "limits"))
		return limits(argv + 2);
	if (argc > 2 && !strcmp(argv[1], "rss"))
		return rss(argv + 2);
	fputs("usage: floor run ROOTFS CMD... | exec PID CGROUP CMD... | hold CGROUP ROOTFS | limits COUNT DIR... | rss CMD...\n", stderr);
	return 2;
}
