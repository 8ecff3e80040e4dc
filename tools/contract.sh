#!/usr/bin/env bash
# The contract in protos/: generate code from it, check it, renew its baseline.
#
#   tools/contract.sh generate   rewrite the generated modules under clients/
#   tools/contract.sh check      lint, breaking changes against the baseline, generated code up to date
#   tools/contract.sh baseline   make the protos as they are now what `check` compares with
#
# buf fetches imports from the network, so it gets an image made by protoc instead: ours and the
# googleapis protos that are installed with the dependencies. `--path boxwall` keeps it to ours.
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python
buf=.venv/bin/buf
baseline=protos/baseline.binpb
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export BUF_CACHE_DIR="$work/cache"

protoc() {
    local include
    include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    find protos -name '*.proto' -print0 | sort -z |
        xargs -0 "$python" -m grpc_tools.protoc -I protos -I "$include" "$@"
}

generate_into() {
    mkdir -p "$1"
    protoc --python_out="$1" --pyi_out="$1" --grpc_python_out="$1"
}

generated_in() {
    (cd "$1" && find . -name '*_pb2.py' -o -name '*_pb2.pyi' -o -name '*_pb2_grpc.py' | sort)
}

generate() {
    generate_into "$work/generated"
    generated_in clients | while read -r file; do rm "clients/$file"; done
    cp -R "$work/generated/." clients/
}

lint() {
    "$buf" lint "$work/image.binpb" --config protos/buf.yaml --path boxwall
}

breaking() {
    if [ ! -f "$baseline" ]; then
        echo "$baseline is missing: run \`make protos-baseline\` and commit it" >&2
        return 1
    fi
    "$buf" breaking "$work/image.binpb" --against "$baseline" --config protos/buf.yaml --path boxwall
}

up_to_date() {
    local file
    generate_into "$work/generated"
    { generated_in "$work/generated"; generated_in clients; } | sort -u | while read -r file; do
        if ! cmp -s "$work/generated/$file" "clients/$file"; then
            echo "clients/${file#./} is not what protos/ generates: run \`make protos\`" >&2
            return 1
        fi
    done
}

case "${1:-}" in
    generate) generate ;;
    baseline) protoc --include_imports --descriptor_set_out="$baseline" ;;
    check)
        protoc --include_imports --include_source_info --descriptor_set_out="$work/image.binpb"
        lint
        breaking
        up_to_date
        ;;
    *)
        sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
