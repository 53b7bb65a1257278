#!/usr/bin/env bash
# A Docker engine and base images for the container suite, on a machine that may have neither.
#
#   tests/compose/engine.sh run COMMAND…    start what is missing, run COMMAND with it, stop what was started
#   tests/compose/engine.sh start           start what is missing; print the variables that say how it is reached
#   tests/compose/engine.sh stop            stop the daemon that `start` started, and no other
#
# An engine that answers is used as it is. Where none does, root on Debian gets `docker.io` and `docker-compose` from apt and
# a daemon with a folder and a socket of its own: no bridge, no firewall rule and no setting of the kernel is changed, so
# builds use the host's network. An image that cannot be pulled has a stand-in: a Debian root with its Python, and the
# nats-server of .venv. pip is set up in builds as it is here. `rm -r /var/cache/sage-test-engine` forgets it all.
#
# Where no engine can be had, `start` says why and fails; `run` then leaves COMMAND out and succeeds. With an engine, `run`
# ends as COMMAND does.
set -euo pipefail

self="$(realpath "${BASH_SOURCE[0]}")"
root="${self%/tests/compose/*}"
state="${ENGINE_STATE:-/run/sage-test-engine}"
cache="${ENGINE_CACHE:-/var/cache/sage-test-engine}"
log="$state/dockerd.log"

say() { printf '%s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
root_only() { [ "$(id -u)" = 0 ] || fail "$*"; }

answers() { command -v docker >/dev/null && timeout 20 docker info >/dev/null 2>&1; }
composes() { docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null; }

# Installs the packages named. The lists of a bare machine are empty, so they are read first.
apt_install() {
  command -v apt-get >/dev/null || fail "there is no apt-get to install $* with"
  say "installing $*"
  {
    timeout 120 apt-get update -qq
    DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -y -qq --no-install-recommends "$@"
  } >"$work/apt.log" 2>&1 </dev/null || fail "apt-get could not install $*: $(tail -n 1 "$work/apt.log")"
}

start_daemon() {
  root_only "no Docker engine answers, and only root can start one"
  mkdir -p -m 0700 "$state" "$cache"
  local missing=()
  command -v dockerd >/dev/null || missing+=(docker.io)
  composes || missing+=(docker-compose)
  if [ ${#missing[@]} -gt 0 ]; then apt_install "${missing[@]}"; fi
  # Later releases of Debian have the client in a package of its own.
  command -v docker >/dev/null || apt_install docker-cli
  if answers; then return; fi  # The package's own service.

  export DOCKER_HOST="unix://$state/docker.sock"
  if answers; then daemon_variables; return; fi
  cat >"$state/daemon.json" <<JSON
{
  "data-root": "$cache/docker", "exec-root": "$state/exec", "pidfile": "$state/dockerd.pid", "hosts": ["$DOCKER_HOST"],
  "bridge": "none", "iptables": false, "ip6tables": false, "ip-forward": false,
  "host-gateway-ip": "127.0.0.1", "log-level": "warn"
}
JSON
  setsid dockerd --config-file "$state/daemon.json" >"$log" 2>&1 </dev/null &
  local daemon=$! deadline=$((SECONDS + 60))
  until answers; do
    kill -0 "$daemon" 2>/dev/null || fail "dockerd ended at once: $(tail -n 1 "$log")"
    [ $SECONDS -lt $deadline ] || fail "dockerd did not answer within 60 s: $(tail -n 1 "$log")"
    sleep 0.2
  done
  daemon_variables
}

# What to set to reach that daemon, and to build with it.
daemon_variables() { printf '%s\n' "DOCKER_HOST=$DOCKER_HOST" BUILD_NETWORK=host; }

stop() {
  local pid="$(cat "$state/dockerd.pid" 2>/dev/null || true)"
  if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]; then
    export DOCKER_HOST="unix://$state/docker.sock"
    # What a run that was cut short left behind, and layers without a name that are older than a day.
    {
      timeout 60 docker ps -aq | timeout 60 xargs -r docker rm -fv
      timeout 60 docker volume ls -q | timeout 60 xargs -r docker volume rm
      timeout 60 docker network prune -f
      timeout 60 docker image prune -f --filter until=24h
    } >/dev/null 2>&1 || true
    kill "$pid" 2>/dev/null || true
    local deadline=$((SECONDS + 40))
    while [ -e "/proc/$pid" ] && [ $SECONDS -lt $deadline ]; do sleep 0.2; done
    if [ -e "/proc/$pid" ]; then
      say "dockerd ($pid) did not end within 40 s and is killed"
      kill -KILL "$pid" "$(cat "$state/exec/containerd/containerd.pid" 2>/dev/null || true)" 2>/dev/null || true
    fi
  fi
  # dockerd leaves the name of the host's network mounted.
  umount "$state"/exec/netns/* 2>/dev/null || true
  rm -rf "$state"
}

# The name of an image in compose/.env.
named() { sed -n "s/^$1=//p" "$root/compose/.env"; }
present() { docker image inspect "$1" >/dev/null 2>&1; }
pulled() { present "$1" || timeout 180 docker pull -q "$1" >/dev/null 2>&1; }

# A Debian root with what compose/Dockerfile needs of its base: Python 3.11 as `python`, and pip.
bootstrap() {
  root_only "$(named PYTHON_IMAGE) cannot be pulled, and only root can make a stand-in"
  command -v debootstrap >/dev/null || apt_install debootstrap
  local mirror=""
  if grep -q '^ID=debian$' /etc/os-release; then
    mirror="$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m 1 '/debian/\?$' || true)"
  fi
  say "making a stand-in for $(named PYTHON_IMAGE), which cannot be pulled"
  timeout 420 debootstrap --variant=minbase --include=python3,python-is-python3,python3-pip,python3-venv,ca-certificates \
    bookworm "$work.root" $mirror >"$work/debootstrap.log" 2>&1 </dev/null \
    || fail "debootstrap made no Debian root: $(tail -n 1 "$work/debootstrap.log")"
  rm -rf "$work.root"/var/cache/apt/archives/*.deb "$work.root"/var/lib/apt/lists/*
  tar -C "$work.root" -c . | docker import - "$1" >/dev/null || fail "the engine takes no image"
}

# Builds the image $1 from the folder of work.
build() {
  timeout 180 docker build -q -t "$1" "$work" >"$work/build.log" 2>&1 \
    || fail "$1 could not be built: $(tail -n 1 "$work/build.log")"
}

# Fails where the engine's machine cannot do what the suite is about: `docker info` answers in many a sandbox that cannot.
try_container() {
  local network="sage-test-$$" said status=0
  said="$(docker network create "$network" 2>&1 \
    && timeout 60 docker run --rm --init --network "$network" --memory 64m "$1" true 2>&1)" || status=$?
  docker network rm "$network" >/dev/null 2>&1 || true
  [ $status = 0 ] || fail "the engine runs no container: $(tail -n 1 <<<"$said")"
}

# The images that compose/.env names, or others in their place.
prepare_images() {
  local base; base="$(named PYTHON_IMAGE)"
  if ! pulled "$base"; then
    base=sage-test/debian:bookworm
    present "$base" || bootstrap "$base"
  fi
  try_container "$base"
  mkdir -p "$work/settings/etc"
  "$root/.venv/bin/python" "$root/tests/compose/pip_settings.py" "$work/settings"
  if [ "$base" != "$(named PYTHON_IMAGE)" ] || [ -s "$work/settings/etc/pip.conf" ]; then
    printf 'FROM %s\nCOPY settings /\nCMD ["python"]\n' "$base" >"$work/Dockerfile"
    build sage-test/python:3.11
    echo "PYTHON_IMAGE=sage-test/python:3.11"
  fi
  if ! pulled "$(named NATS_IMAGE)"; then
    present "$base" || fail "$(named NATS_IMAGE) cannot be pulled"
    cp "$root/.venv/bin/nats-server" "$work/"
    printf 'FROM %s\nCOPY nats-server /usr/local/bin/\nCMD ["nats-server"]\n' "$base" >"$work/Dockerfile"
    build sage-test/nats:2
    echo "NATS_IMAGE=sage-test/nats:2"
  fi
}

case "${1:-}" in
  start)
    work="$(mktemp -d)"
    trap 'rm -rf "$work" "$work.root"' EXIT
    answers || start_daemon
    if ! composes; then
      root_only "a Docker engine answers, but neither \`docker compose\` nor \`docker-compose\` is installed"
      apt_install docker-compose
    fi
    prepare_images
    ;;
  stop) stop ;;
  run)
    shift
    if ! answers && [ "$(id -u)" = 0 ]; then
      # One run at a time has the daemon.
      mkdir -p -m 0700 "$cache"
      exec 9>"$cache/lock"
      flock -w 600 9 || fail "another run has had the engine for 10 minutes"
      trap stop EXIT
      trap 'exit 143' INT TERM
    fi
    if environment="$("$self" start 9>&-)"; then
      while read -r line; do [ -z "$line" ] || export "${line?}"; done <<<"$environment"
      "$@"
    else
      say "the container suite is not run: no Docker engine can be had here; the reason is above"
    fi
    ;;
  *) sed -n '2,16s/^# \{0,1\}//p' "$self" >&2; exit 2 ;;
esac
