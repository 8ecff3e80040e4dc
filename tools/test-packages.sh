#!/usr/bin/env bash
# The programs that tests in namespaces use, installed when they are missing and this is root on
# Debian. Elsewhere those tests are skipped, and say why.
set -euo pipefail

missing=()
command -v ip > /dev/null || missing+=(iproute2)
command -v nft > /dev/null || missing+=(nftables)
command -v curl > /dev/null || missing+=(curl)
if [ ${#missing[@]} -eq 0 ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
    exit 0
fi
echo "installing for the tests in namespaces: ${missing[*]}" >&2
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}" > /dev/null
