#!/bin/sh
# What many do with plain nftables: a set of addresses, connections once let in stay, names resolved
# once, when the rules are made.   make bypass ARGS="--behind tests/bypass/plain_nft.sh"
set -eu

family() { case $1 in *:*) echo ip6 ;; *) echo ip ;; esac; }

list() { # VERDICT ADDRESS...
    verdict=$1
    shift
    for address; do
        echo "add rule inet plain $chain $(family "$address") daddr $address $verdict"
    done
}

chain=$BOX_INTERFACE
{
    echo "add table inet plain"
    echo "add chain inet plain forward { type filter hook forward priority 0; }"
    echo "add chain inet plain $chain"
    echo "add rule inet plain $chain ct state established,related accept"
    # shellcheck disable=SC2086 # lists of words
    {
        list drop $DENIED_CIDRS
        list accept $ALLOWED_CIDRS
        if [ -n "$ALLOWED_DOMAINS" ]; then
            list accept $NAME_ADDRESSES
            echo "add rule inet plain $chain udp dport 53 accept"
        fi
    }
    if [ "$MODE" = allow-all ] || [ "$POLICY" = "deny list" ]; then
        echo "add rule inet plain $chain accept"
    else
        echo "add rule inet plain $chain drop"
    fi
    echo "add rule inet plain forward iifname $BOX_INTERFACE jump $chain"
} | nft -f -
