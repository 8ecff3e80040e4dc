# The control plane: docker build --target server --tag boxwall-server .
# The node agent:    docker build --target agent --tag boxwall-agent .
#
# Any base with Python 3.11 or newer (its `venv` included) will do: --build-arg BASE=...
ARG BASE=python:3.11-slim

FROM ${BASE} AS builder
WORKDIR /src
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/boxwall
RUN python3 -m venv --without-pip /opt/boxwall-agent
COPY requirements-server.lock requirements-agent.lock ./
# Wheels only, so that no stage needs a compiler. The locks pin the build backend too.
RUN /build/bin/python -m pip wheel --no-cache-dir --only-binary :all: --wheel-dir /wheels \
        --require-hashes -r requirements-server.lock \
    && /build/bin/python -m pip wheel --no-cache-dir --only-binary :all: --wheel-dir /wheels \
        --require-hashes -r requirements-agent.lock \
    && /build/bin/python -m pip install --no-cache-dir --no-index --find-links /wheels hatchling
COPY pyproject.toml README.md ./
COPY clients clients
COPY server server
RUN /build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /build/bin/python -m pip --python /opt/boxwall/bin/python install --no-cache-dir \
        --no-index --find-links /wheels 'boxwall[server]' \
    && /build/bin/python -m pip --python /opt/boxwall-agent/bin/python install --no-cache-dir \
        --no-index --find-links /wheels 'boxwall[agent]' \
    # Made here, moved there: what is installed names the place it is run from.
    && sed -i 's|/opt/boxwall-agent/|/opt/boxwall/|' /opt/boxwall-agent/bin/boxwall

FROM ${BASE} AS server
# Written by hand: not every base has useradd. The id is fixed, so that volumes can be prepared for it.
RUN echo 'boxwall:x:10001:10001:Boxwall:/var/lib/boxwall:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'boxwall:x:10001:' >> /etc/group \
    && mkdir -p /var/lib/boxwall && chown 10001:10001 /var/lib/boxwall && chmod 0700 /var/lib/boxwall
COPY --from=builder /opt/boxwall /opt/boxwall
ENV HOME=/var/lib/boxwall PATH=/opt/boxwall/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/boxwall
VOLUME /var/lib/boxwall
EXPOSE 50051 9464
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/opt/boxwall/bin/python", "-c", \
    "from urllib.request import urlopen; urlopen('http://127.0.0.1:9464/healthz', timeout=2)"]
ENTRYPOINT ["boxwall"]
# A socket in the volume, for clients that share it. To serve others, give certificates and tokens
# (docs/security.md): server --listen 0.0.0.0:50051 --tls-cert ... --tls-key ... --tokens ...
CMD ["server", "--listen", "unix:/var/lib/boxwall/boxwall.sock", "--store", "sqlite:/var/lib/boxwall/boxwall.sqlite"]

# On the host's network, with the capabilities that nf_tables and raw packets need, and (BPF, PERFMON) the program that
# finds displaced checksums; without these two the agent runs, with the limit that SECURITY.md names first:
#   docker run --network host --cap-drop ALL --cap-add NET_ADMIN --cap-add NET_RAW --cap-add DAC_OVERRIDE \
#       --cap-add BPF --cap-add PERFMON \
#       -v /run/boxwall:/run/boxwall -v /var/lib/boxwall:/var/lib/boxwall boxwall-agent agent --server HOST:PORT
# `attach --interface` needs no more; `attach --netns` also --cap-add SYS_ADMIN and -v /run/netns:/run/netns:rslave (without
# rslave, what `ip netns add` makes later is an empty file in here; the folder must be there before: `ip netns add` makes it).
FROM ${BASE} AS agent
COPY --from=builder /opt/boxwall-agent /opt/boxwall
ENV PATH=/opt/boxwall/bin:$PATH PYTHONUNBUFFERED=1
VOLUME /var/lib/boxwall
EXPOSE 9465
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/opt/boxwall/bin/python", "-c", \
    "from urllib.request import urlopen; urlopen('http://127.0.0.1:9465/healthz', timeout=2)"]
ENTRYPOINT ["boxwall"]
CMD ["agent"]
