#!/bin/sh
# Makes a bundle from busybox, runs a container in it with $GARBOARD, and shows from inside what isolates it.
set -eu

: "${GARBOARD:?the runtime to show}"
dir=$(mktemp -d /tmp/garboard-demo.XXXXXX)
trap 'rm -rf --one-file-system "$dir"' EXIT INT TERM
id=demo-$$

mkdir -p "$dir/bundle/rootfs/bin" "$dir/bundle/rootfs/etc"
for name in proc sys dev tmp root; do mkdir "$dir/bundle/rootfs/$name"; done
cp /bin/busybox "$dir/bundle/rootfs/bin/"
for name in sh cat id ps hostname ls grep sed readlink awk mount true; do ln -s busybox "$dir/bundle/rootfs/bin/$name"; done
echo root:x:0:0:root:/root:/bin/sh >"$dir/bundle/rootfs/etc/passwd"
echo root:x:0: >"$dir/bundle/rootfs/etc/group"
host=$(for kind in mnt pid net ipc uts user cgroup time; do printf '%s ' "$(readlink /proc/self/ns/$kind)"; done)

cat >"$dir/bundle/rootfs/inside.sh" <<'INSIDE'
line() { printf '%-16s %s\n' "$1" "$2"; }
status() { sed -n "s/^$1:[[:space:]]*//p" /proc/self/status; }
for pair in $HOST; do
	kind=${pair%%:*}
	mine=$(readlink /proc/self/ns/$kind)
	[ "$mine" = "$pair" ] && what="shared with the host" || what="its own"
	line "namespace" "$mine, $what"
done
line "pid" "$$, and these are all: $(ps -o pid,args | sed 1d | grep -v 'ps -o' | awk '{printf "%s %s; ", $1, $2}')"
line "hostname" "$(hostname)"
line "user" "$(id)"
line "root" "$(ls / | awk '{printf "%s ", $0}')"
line "mounts" "$(awk '{printf "%s(%s) ", $2, $3}' /proc/mounts)"
line "capabilities" "effective $(status CapEff), bounding $(status CapBnd), ambient $(status CapAmb)"
line "seccomp mode" "$(status Seccomp)"
line "no-new-privs" "$(status NoNewPrivs)"
line "cgroup" "$(cat /proc/self/cgroup | awk -F: 'length($3) > 1 {printf "%s ", $2 ":" $3}')"
line "signals" "ignored $(status SigIgn), blocked $(status SigBlk)"
line "descriptors" "$(for fd in 0 1 2; do printf '%s -> %s; ' $fd "$(readlink /proc/$$/fd/$fd)"; done)and $(($(ls /proc/1/fd | awk 'END {print NR}') - 3)) of the shell's own"
INSIDE

"$GARBOARD" spec --bundle "$dir/bundle"
sed -i -e 's/"terminal": true/"terminal": false/' -e 's/"sh"$/"sh", "\/inside.sh"/' \
	-e "s|\"TERM=xterm\"|\"TERM=xterm\", \"HOST=$host\"|" \
	-e "s|\"linux\": {|\"linux\": { \"cgroupsPath\": \"/garboard-$id\",|" "$dir/bundle/config.json"

echo "== garboard run, seen from inside"
"$GARBOARD" --root "$dir/state" run --bundle "$dir/bundle" "$id"

echo "== how long a start takes: run of /bin/true, whole command, fastest and median of 50"
sed -i -e 's/"sh", "\/inside.sh"/"\/bin\/true"/' "$dir/bundle/config.json"
for _ in $(seq 50); do
	before=$(date +%s%N)
	"$GARBOARD" --root "$dir/state" run --bundle "$dir/bundle" "$id"
	echo $((($(date +%s%N) - before) / 1000))
done | sort -n | awk '{all[NR] = $1} END {printf "%.1f ms, %.1f ms (the shell that starts it included)\n", all[1] / 1000, all[int((NR + 1) / 2)] / 1000}'
[ -z "$(ls -A "$dir/state" 2>/dev/null)" ] && echo "nothing is left in the state directory"
