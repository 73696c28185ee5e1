# A small image for `tunnels up -f`: no daemon, log lines on stderr, SIGTERM ends it cleanly.
#
#   docker build -t tunnels .
#   docker run -v ./profiles.toml:/etc/tunnels/profiles.toml:ro -v ./ssh:/home/tunnels/.ssh:ro tunnels
#
# The folder ssh has the key and known_hosts with the server's host key; both must be readable for uid 1000.
# PYTHON chooses another image with Python to build on, for example one of your own registry.
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
COPY pyproject.toml README.md LICENSE /src/
COPY tunnels /src/tunnels
COPY man /src/man
COPY completions /src/completions
RUN python3 -m venv /opt/tunnels && /opt/tunnels/bin/pip install --no-cache-dir /src

FROM ${PYTHON}
RUN command -v ssh >/dev/null || { apt-get update && apt-get install -y --no-install-recommends openssh-client \
    && rm -rf /var/lib/apt/lists/*; }
RUN useradd --create-home --uid 1000 tunnels && install -d -o tunnels -g tunnels -m 700 /run/tunnels
COPY --from=build /opt/tunnels /opt/tunnels
ENV PATH=/opt/tunnels/bin:$PATH TUNNELS_CONFIG=/etc/tunnels/profiles.toml
USER tunnels
# The file exists exactly while every tunnel is up and every forward listens.
HEALTHCHECK --interval=5s --timeout=2s --start-period=30s CMD ["test", "-e", "/run/tunnels/ready"]
ENTRYPOINT ["tunnels"]
CMD ["up", "-f", "--all", "--ready-file", "/run/tunnels/ready"]
