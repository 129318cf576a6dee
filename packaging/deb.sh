#!/bin/sh
# packaging/deb.sh ROOT OUTPUT
#
# Makes OUTPUT/garboard_VERSION_amd64.deb of ROOT, into which `make install DESTDIR=ROOT PREFIX=/usr` has put the programs and what is theirs.
# Added are the files below packaging/root and what Debian wants to see of every package. The same tree gives the same bytes: times are the
# commit's (or $SOURCE_DATE_EPOCH), owners are root's, dpkg-deb sorts the names.
set -eu
umask 022
here=$(dirname "$0")
root=$1 output=$2
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct)}" LC_ALL=C
version=$(sed -n '1s/^garboard (\(.*\)) .*/\1/p' "$here/debian/changelog")
doc=$root/usr/share/doc/garboard

cp -r "$here/root/." "$root"
mkdir -p "$doc/docs" "$doc/examples" "$root/usr/share/lintian/overrides" "$root/DEBIAN"
cp "$here/../README.md" "$here/debian/copyright" "$doc"
cp "$here"/../docs/*.md "$doc/docs"
cp "$here/debian/changelog" "$doc/changelog.Debian"
cp "$here/../CHANGELOG.md" "$doc/changelog"
cp "$here"/examples/* "$doc/examples"
cp "$here/debian/lintian-overrides" "$root/usr/share/lintian/overrides/garboard"
# Where Debian's zsh looks for what packages bring.
mkdir -p "$root/usr/share/zsh/vendor-completions"
mv "$root"/usr/share/zsh/site-functions/* "$root/usr/share/zsh/vendor-completions"
rmdir "$root/usr/share/zsh/site-functions"
gzip -9n "$doc/changelog" "$doc/changelog.Debian" "$root"/usr/share/man/man*/*
find "$root" -type d -exec chmod 0755 {} +
find "$root" -type f ! -perm -100 -exec chmod 0644 {} +

(cd "$root" && find etc -type f -printf '/%p\n' | sort) >"$root/DEBIAN/conffiles"
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
# In KiB, a file rounded up, a directory 1: the same on every filesystem.
size=$(find "$root/etc" "$root/usr" -printf '%y %s\n' | awk '{kib += $1 == "f" ? int(($2 + 1023) / 1024) : 1} END {print kib}')
sed "s/@VERSION@/$version/; s/@SIZE@/$size/" "$here/debian/control" >"$root/DEBIAN/control"
cp "$here/debian/triggers" "$root/DEBIAN"
for script in postinst prerm postrm; do
	install -m 0755 "$here/debian/$script" "$root/DEBIAN"
done
find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

mkdir -p "$output"
# Not every dpkg can read what a newer one compresses with by default.
dpkg-deb --root-owner-group -Zxz --build "$root" "$output/garboard_${version}_amd64.deb"
