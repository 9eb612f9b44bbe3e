# Two images: `runtime` runs flows, `feeder` adds the demo's packages.

FROM python:3.12-slim AS install
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/ewma
WORKDIR /src
# A C compiler for the package's loops; it is not part of the final images.
COPY requirements-compiler.lock ./
RUN python -m venv /opt/compiler \
 && /opt/compiler/bin/pip install --require-hashes --requirement requirements-compiler.lock
COPY requirements-run.lock ./
RUN /opt/ewma/bin/pip install --require-hashes --requirement requirements-run.lock
COPY pyproject.toml setup.py README.md LICENSE ./
COPY ewma_ops ewma_ops
COPY flows flows
RUN CC="/opt/compiler/bin/python -m ziglang cc -mcpu=baseline" \
    /opt/ewma/bin/pip install --no-deps --no-build-isolation .

FROM install AS install-demo
COPY requirements.lock ./
RUN /opt/ewma/bin/pip install --require-hashes --requirement requirements.lock

FROM python:3.12-slim AS base
# The state directory is created here, so that a new volume on it belongs to the user.
RUN groupadd --system --gid 10001 ewma \
 && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/ewma --create-home ewma \
 && install -d -o ewma -g ewma /var/lib/ewma/state
ENV PATH=/opt/ewma/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /var/lib/ewma
USER 10001:10001
ENTRYPOINT ["ewma"]

FROM base AS feeder
COPY --from=install-demo /opt/ewma /opt/ewma
CMD ["feed", "--help"]

FROM base AS runtime
COPY --from=install /opt/ewma /opt/ewma
CMD ["run", "/etc/ewma/flow.toml"]
