# A server of a library of films: CPU only, not root, nothing fetched when it runs.
#   docker build -t gmmformer .
#   docker run --rm -p 127.0.0.1:8000:8000 -e GMMFORMER_TOKEN=... --read-only --tmpfs /tmp \
#     -v /srv/library:/library:ro -v /srv/films:/srv/films:ro gmmformer
# Films are mounted where they were when they were indexed.

ARG IMAGE=python:3.13.9-slim

FROM ${IMAGE} AS built
WORKDIR /source
COPY constraints.txt ./
RUN python -m venv /opt/gmmformer && /opt/gmmformer/bin/pip install --no-cache-dir --no-compile \
    -c constraints.txt --index-url https://download.pytorch.org/whl/cpu torch
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/gmmformer/bin/pip install --no-cache-dir --no-compile -c constraints.txt '.[films,web]'

FROM ${IMAGE}
COPY --from=built /opt/gmmformer /opt/gmmformer
RUN useradd --system --uid 10001 --no-create-home gmmformer
USER 10001
ENV PATH=/opt/gmmformer/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["gmmformer", "serve"]
CMD ["/library", "--host", "0.0.0.0"]
