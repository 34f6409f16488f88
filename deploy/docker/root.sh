#!/bin/sh
# The whole root of the image: root.sh PROGRAMS ROOT. The programs, the libraries that they load, certificates, a user.
set -eu
programs=$1
root=$2

mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs"
cp "$programs/parley-api" "$programs/parley-gateway" "$programs/parley-courier" "$root/usr/local/bin/"
# For preStop.
cp "$(command -v sleep)" "$root/usr/local/bin/sleep"

# The loader and the libraries, where the programs look for them.
for program in "$root"/usr/local/bin/*; do
    ldd "$program" | awk '$1 ~ /^\// { print $1 } $3 ~ /^\// { print $3 }'
done | sort -u | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done

cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo 'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' > "$root/etc/passwd"
echo 'nonroot:x:65532:' > "$root/etc/group"
# Names of hosts: files first, then DNS.
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
