#!/bin/sh
# Runs the end-to-end tests against the containers of docker-compose.test.yml, and takes them down again.
#
#   PYTHON       the interpreter that has the package and pytest (default: python3)
#   BASE_IMAGE   the Debian image to build on (default: debian:bookworm-slim)
#   arguments    go to pytest
set -eu
cd "$(dirname "$0")/../.."

if docker compose version > /dev/null 2>&1; then
  compose="docker compose"
elif docker-compose version > /dev/null 2>&1; then
  compose="docker-compose"
  # Version 1 knows only the classic builder.
  export DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0
else
  echo "neither 'docker compose' nor 'docker-compose' works here" >&2
  exit 1
fi
compose="$compose -f docker-compose.test.yml"
export COMPOSE_PROJECT_NAME="${COMPOSE_PROJECT_NAME:-tunnels-test}"

docker info > /dev/null 2>&1 || { echo "the docker engine does not answer" >&2; exit 1; }

down() {
  status=$?
  trap - EXIT INT TERM
  [ "$status" -eq 0 ] || $compose logs --no-color --tail 50 || true
  $compose down --timeout 1 --volumes
  exit "$status"
}
trap down EXIT
trap 'exit 130' INT TERM

$compose up -d --build

services=$($compose config --services)
for service in $services; do
  container=$($compose ps -q "$service")
  tries=0
  until [ "$(docker inspect --format '{{.State.Health.Status}}' "$container")" = healthy ]; do
    tries=$((tries + 1))
    [ "$tries" -le 120 ] || { echo "$service does not become healthy" >&2; exit 1; }
    sleep 0.5
  done
done

# shellcheck disable=SC2086
TUNNELS_TEST_SERVER=compose ${PYTHON:-python3} -m pytest tests/e2e "$@"
