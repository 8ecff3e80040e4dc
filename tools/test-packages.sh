#!/usr/bin/env bash
# The programs that tests in namespaces and of PostgreSQL use, installed when they are missing and
# this is root on Debian. Elsewhere those tests are skipped, and say why.
set -euo pipefail

missing=()
command -v ip > /dev/null || missing+=(iproute2)
command -v nft > /dev/null || missing+=(nftables)
command -v curl > /dev/null || missing+=(curl)
command -v openssl > /dev/null || missing+=(openssl)
command -v dig > /dev/null || missing+=(bind9-dnsutils)
command -v initdb > /dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' > /dev/null || missing+=(postgresql)
if [ ${#missing[@]} -eq 0 ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
    exit 0
fi
echo "installing for the tests: ${missing[*]}" >&2
if [[ " ${missing[*]} " == *" postgresql "* ]]; then
    # The tests start their own, on a directory of their own: none is to run on this machine.
    mkdir -p /etc/postgresql-common/createcluster.d
    echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.d/boxwall-tests.conf
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}" > /dev/null
