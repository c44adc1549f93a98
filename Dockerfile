# The demo's image: `platform-http demo upstream`, `caller` and `load`. Build it from the root of the repository.
# A release build pins the base by digest: --build-arg PYTHON_IMAGE=python:3.13-slim-bookworm@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /source

# Dependencies first: they change less often than the library, and their layer is kept.
COPY requirements/build.txt requirements/runtime.txt requirements/uv.txt requirements/
RUN python -m venv /build \
    && /build/bin/pip install --require-hashes -r requirements/uv.txt -r requirements/build.txt
# Without pip. The file system is read-only at run time, so bytecode is made here.
RUN /build/bin/uv venv --python python /opt/platform-http \
    && /build/bin/uv pip install --python /opt/platform-http/bin/python --compile-bytecode \
        --require-hashes --only-binary :all: -r requirements/runtime.txt

COPY pyproject.toml pytest_platform_http.py README.md LICENSE ./
COPY requirements/platform-http.cdx.json requirements/
COPY platform_http platform_http
RUN /build/bin/uv build --python /build/bin/python --no-build-isolation --wheel --out-dir /wheel \
    && /build/bin/uv pip install --python /opt/platform-http/bin/python --compile-bytecode \
        --no-deps --no-index /wheel/*.whl

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="platform-http-demo" \
      org.opencontainers.image.description="A service that calls misbehaving upstreams through platform_http" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Nothing is installed at run time.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
    && groupadd --system --gid 10001 platform \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin platform
COPY --from=build /opt/platform-http /opt/platform-http
ENV PATH=/opt/platform-http/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
# By number: Kubernetes cannot tell from a name that it is not root.
USER 10001:10001
# upstream 9000-9003, caller 8080, load 8081. No HEALTHCHECK: the chart's probes ask /healthz and /readyz.
EXPOSE 8080 8081 9000-9003
ENTRYPOINT ["platform-http"]
CMD ["--help"]
