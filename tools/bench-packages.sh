#!/usr/bin/env bash
# The programs that benchmarks measure beside Boxwall, or measure with, installed when they are
# missing and this is root on Debian. Elsewhere those questions are skipped, and say why.
set -euo pipefail

PATH="$PATH:/usr/sbin:/usr/local/sbin"
missing=()
command -v dnsmasq > /dev/null || missing+=(dnsmasq-base)
command -v unbound > /dev/null || missing+=(unbound)
command -v dnsperf > /dev/null || missing+=(dnsperf)
command -v etcd > /dev/null || missing+=(etcd-server)
command -v initdb > /dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' > /dev/null || missing+=(postgresql)
if [ ${#missing[@]} -eq 0 ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
    exit 0
fi
echo "installing for the benchmarks: ${missing[*]}" >&2
# Debian starts a server when it is installed. Only the benchmark's own shall run.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
if [[ " ${missing[*]} " == *" postgresql "* ]]; then
    # The benchmarks start their own, on a directory of their own: none is to run on this machine.
    mkdir -p /etc/postgresql-common/createcluster.d
    echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.d/boxwall-bench.conf
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}" > /dev/null
if [ -d /run/systemd/system ]; then
    for package in unbound etcd-server; do
        if [[ " ${missing[*]} " == *" $package "* ]]; then
            systemctl disable --quiet "${package%-server}.service"
        fi
    done
fi
