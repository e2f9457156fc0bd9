# apt-get install "$@", without questions and without starting any service.
#
# A package's scripts start its services (nginx: on port 80) unless
# /usr/sbin/policy-rc.d answers 101, on systemd machines as on others
# (invoke-rc.d(8), deb-systemd-invoke(1p)). Where the machine has no such file
# there is one for the time of the installation, and only then.
set -eu
policy=/usr/sbin/policy-rc.d
mark='# tcpstate: for the time of one installation'
if [ ! -e "$policy" ] || grep -qxF "$mark" "$policy"; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 129' HUP INT TERM
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
# --no-remove: rustc-web conflicts with Debian's rustc and rustup packages;
# replacing somebody's toolchain is not ours to do.
apt-get install --yes --quiet --no-install-recommends --no-remove \
    -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
