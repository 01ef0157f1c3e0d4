# docker build -t tessera . — everything is installed by hash. See docs/en/operations.md for how it is run.
FROM python:3.12-slim AS build
WORKDIR /build
COPY requirements/serve.txt requirements/serve.txt
RUN python -m venv /opt/tessera \
 && /opt/tessera/bin/pip install --no-cache-dir --require-hashes -r requirements/serve.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY docs docs
RUN /opt/tessera/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim
COPY --from=build /opt/tessera /opt/tessera
# The service writes only here (models and the store) and to /tmp (sockets).
RUN install -d -o 10001 -g 10001 -m 0700 /var/cache/tessera
ENV HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    TESSERA_HOST=0.0.0.0 \
    TESSERA_CACHE_DIR=/var/cache/tessera \
    TESSERA_DATABASE_URL=sqlite:////var/cache/tessera/tessera.db
USER 10001:10001
VOLUME /var/cache/tessera
EXPOSE 8000
# This asks whether the process is alive. Whether it can answer yet is what /readyz tells a load balancer.
HEALTHCHECK --start-period=15m --interval=10s --timeout=3s \
    CMD ["/opt/tessera/bin/python", "-c", "import os, urllib.request as http; http.urlopen(f\"http://127.0.0.1:{os.environ.get('TESSERA_PORT', 8000)}/healthz\", timeout=2)"]
# The command is the first process of the container, so it receives SIGTERM.
ENTRYPOINT ["/opt/tessera/bin/tessera"]
CMD ["serve"]
