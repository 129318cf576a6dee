#!/bin/sh
# Captures the config.json that each engine writes, for the fixtures beside the suite. Run by hand, as root, on a machine that may have
# the engines installed (docker.io containerd podman buildah conmon iptables netavark tini jq runc busybox-static); the tests do not need it.
#
#   capture.sh OUTPUT_DIRECTORY
#
# Engines run on private sockets, in a private mount namespace, below a temporary directory; cgroups are made below /garboard-test-engines.
set -eu

out=$(realpath "$1")
mkdir -p "$out"
if [ "${2:-}" != inside ]; then
	dir=$(mktemp -d /tmp/garboard-test-engines.XXXXXX)
	unshare -m --propagation private sh "$0" "$out" inside "$dir" || status=$?
	rm -rf --one-file-system "$dir"
	# What the engines' helpers left is on its way out.
	sleep 1
	find /sys/fs/cgroup -depth -type d -path '*garboard-test-engines*' -exec rmdir {} \; 2>/dev/null || true
	exit "${status:-0}"
fi
D=$3
parent=/garboard-test-engines
mount -t tmpfs tmpfs "$D"
mkdir -p "$D/raw" "$D/bin"

# Between every engine and runc stands this: it keeps the config.json of what is created, of execs the process file.
cat >"$D/bin/runc" <<EOF
#!/bin/sh
previous=
for word in "\$@"; do
	case \$previous in --bundle | -b) bundle=\$word ;; --process | -p) process=\$word ;; esac
	case \$word in --bundle=*) bundle=\${word#--bundle=} ;; esac
	previous=\$word
done
engine=\$(cat $D/engine)
[ -z "\${bundle:-}" ] || cp "\$bundle/config.json" "$D/raw/\$engine.json"
[ -z "\${process:-}" ] || cp "\$process" "$D/raw/\$engine-exec.json"
exec /usr/sbin/runc "\$@"
EOF
chmod 755 "$D/bin/runc"

mkdir -p "$D/image/bin" "$D/image/etc" "$D/image/tmp"
cp /bin/busybox "$D/image/bin/"
for name in sh sleep true cat id; do ln -s busybox "$D/image/bin/$name"; done
echo root:x:0:0:root:/root:/bin/sh >"$D/image/etc/passwd"
tar -C "$D/image" -cf "$D/image.tar" .

echo containerd >"$D/engine"
cat >"$D/containerd.toml" <<EOF
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
EOF
containerd --config "$D/containerd.toml" --root "$D/ctd" --state "$D/cts" -a "$D/c.sock" >"$D/containerd.log" 2>&1 &
containerd=$!
dockerd --containerd "$D/c.sock" --data-root "$D/docker" --exec-root "$D/dexec" -H "unix://$D/d.sock" --pidfile "$D/d.pid" --bridge none \
	--iptables=false --ip-forward=false --storage-driver vfs --add-runtime "captured=$D/bin/runc" >"$D/dockerd.log" 2>&1 &
dockerd=$!
trap 'kill $dockerd; wait $dockerd; kill $containerd; wait $containerd' EXIT
for _ in $(seq 100); do
	docker -H "unix://$D/d.sock" version >/dev/null 2>&1 && break
	sleep 0.1
done

d="docker -H unix://$D/d.sock"
$d import "$D/image.tar" box >/dev/null
echo docker >"$D/engine"
$d run -d --name one --runtime captured --network none --cgroup-parent "$parent" --memory 64m --cpus 0.5 box sleep 1000 >/dev/null
$d exec one true
$d rm -f one >/dev/null
mkdir "$D/given"
echo docker-user >"$D/engine"
$d run --rm -t --runtime captured --network none --cgroup-parent "$parent" --init --read-only --user 1000:1000 --group-add 5 --tmpfs /scratch:size=1m,noexec \
	-v "$D/given:/given:ro" --security-opt no-new-privileges --cap-drop ALL --cap-add NET_RAW box true >/dev/null
echo docker-host >"$D/engine"
$d run --rm --runtime captured --network host --pid host --ipc host --uts host --cgroup-parent "$parent" --device /dev/null:/dev/other \
	--mount "type=bind,src=$D/given,dst=/given,bind-propagation=rprivate" box true >/dev/null

# An OCI archive for ctr comes from buildah.
echo buildah >"$D/engine"
export XDG_RUNTIME_DIR="$D/xdg"
mkdir -p "$D/xdg"
b="buildah --root $D/bstore --runroot $D/brun --storage-driver vfs"
from=$($b from --cgroup-parent "$parent" scratch)
$b add -q "$from" "$D/image.tar" / >/dev/null
$b run --runtime "$D/bin/runc" --isolation oci --network none "$from" -- true
echo buildah-user >"$D/engine"
mkdir "$D/context"
printf 'FROM scratch\nADD image.tar /\nUSER 1000:1000\nENV A=b\nWORKDIR /tmp\nRUN true\n' >"$D/context/Dockerfile"
cp "$D/image.tar" "$D/context/"
$b bud -q --isolation oci --runtime "$D/bin/runc" --network none -v "$D/given:/given:ro" --cgroup-parent "$parent/six" "$D/context" >/dev/null
echo buildah >"$D/engine"
$b commit -q "$from" "oci-archive:$D/box.oci:box:latest" >/dev/null

echo podman >"$D/engine"
p="podman --root $D/bstore --runroot $D/brun --storage-driver vfs --runtime $D/bin/runc --cgroup-manager cgroupfs --tmpdir $D/ptmp --conmon /usr/bin/conmon"
$p load -q -i "$D/box.oci" >/dev/null
image=$($p images -q | head -1)
$p run -d --name two --network none --cgroup-parent "$parent" --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 --pids-limit 100 "$image" /bin/sleep 1000 >/dev/null
$p exec two /bin/true
$p rm -f -t 0 two >/dev/null
limits="--ulimit nofile=1024:1024 --ulimit nproc=4096:4096 --pids-limit 100"
echo podman-user >"$D/engine"
$p run --rm -t --network none --cgroup-parent "$parent" $limits --init --init-path /usr/bin/tini-static --read-only --user 1000:1000 --group-add 5 \
	--tmpfs /scratch:size=1m,noexec -v "$D/given:/given:ro" --security-opt no-new-privileges --cap-drop all --cap-add net_raw "$image" /bin/true
echo podman-host >"$D/engine"
$p run --rm --network host --pid host --ipc host --uts host --cgroup-parent "$parent" $limits --device /dev/null:/dev/other -v "$D/given:/given:rslave" \
	"$image" /bin/true
echo podman-mapped >"$D/engine"
$p run --rm --network none --cgroup-parent "$parent" $limits --uidmap 0:100000:65536 --gidmap 0:100000:65536 --systemd always "$image" /bin/true

echo containerd >"$D/engine"
c="ctr -a $D/c.sock"
$c images import --index-name box "$D/box.oci" >/dev/null
name=$($c images ls -q | head -1)
$c run -d --snapshotter native --runc-binary "$D/bin/runc" --cgroup "$parent/three" "$name" three /bin/sleep 1000
$c tasks exec --exec-id x three /bin/true
$c tasks kill -s KILL three
sleep 1
$c tasks rm three >/dev/null 2>&1 || true
$c containers rm three
echo containerd-user >"$D/engine"
script -qec "$c run --rm -t --snapshotter native --runc-binary $D/bin/runc --cgroup $parent/four --read-only --cwd /tmp --env A=b \
	--mount type=bind,src=$D/given,dst=/given,options=rbind:ro --seccomp $name four /bin/true" /dev/null >/dev/null
echo containerd-host >"$D/engine"
$c run --rm --snapshotter native --runc-binary "$D/bin/runc" --cgroup "$parent/five" --net-host --device /dev/null "$name" five /bin/true

# What is of this machine becomes a placeholder: the rootfs, sources of mounts by the name of their destination, ids, hooks.
for file in "$D"/raw/*.json; do
	# One fixture of each engine has its seccomp profile; it is long.
	case ${file##*/} in *-*) case=true ;; *) case=false ;; esac
	jq --argjson case $case '
		if .root then .root.path = "@ROOTFS@" else . end
		| if .mounts then .mounts |= map(if ((.options // []) | any(. == "bind" or . == "rbind")) and (.source | startswith("/"))
			then .source = "@SOURCE@" + .destination else . end) else . end
		| if .linux.cgroupsPath then .linux.cgroupsPath = "@CGROUP@" else . end
		| if .hooks then .hooks |= map_values(map(.path = "@HOOK@" | del(.args))) else . end
		| if .annotations then .annotations |= map_values(if startswith("/tmp/") then "@PATH@" else . end) else . end
		| if $case and .linux.seccomp then del(.linux.seccomp) else . end
		| walk(if type == "string" and contains("garboard-test-engines") then "@PATH@" else . end)
	' "$file" >"$out/$(basename "$file")"
done
ls "$out"
