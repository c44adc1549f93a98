"""Runs what ``helm template`` prints as processes of this machine, without a cluster.

::

    helm template demo charts/platform-http-demo | python -m examples.service.local

The Deployments ``…-upstream``, ``…-caller`` and ``…-load`` become processes with exactly the
environment that the manifests give them, and ``PATH``. Only what a cluster would provide is
replaced: names of Services by ``localhost``, ports by free ones, mounted files by temporary ones.
With ``--test`` the pods of ``helm test`` run against them, and their result is the exit code; a run
that is interrupted has none.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from examples.service.manifests import ManifestError, Manifests, Program
from examples.service.signals import Signals

# In the order in which they depend on each other, with the ports that each has.
ROLES: Final = {"upstream": 4, "caller": 1, "load": 1}
_READY_SECONDS: Final = 30.0
_END_SECONDS: Final = 20.0
_TEST_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the processes until Ctrl-C or SIGTERM, or until the tests are over.

    A second signal kills what has not ended by then.

    Returns:
        0; 1 if a process or a test failed; 2 if the manifests cannot be run here; 130 or 143 if
        Ctrl-C or SIGTERM came before the tests had a result.
    """
    options = _parser().parse_args(arguments)
    signals = Signals()
    signals.listen()
    try:
        result = _run(_text(options.manifests), signals, test=options.test)
    except (ManifestError, OSError) as error:
        print(f"cannot run this: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        result = 0
    if options.test and signals.number is not None:
        return 128 + signals.number
    return result


def _run(text: str, signals: Signals, *, test: bool) -> int:
    manifests = Manifests(text)
    with tempfile.TemporaryDirectory(prefix="platform-http-local-") as directory:
        place = Place(manifests, Path(directory))
        with _running(place, signals) as processes:
            if test:
                return _test(place, manifests.tests(), processes)
            return _watch(processes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run rendered manifests as local processes.")
    parser.add_argument(
        "manifests", nargs="?", default="-", help="file of manifests; - is standard input"
    )
    parser.add_argument(
        "--test", action="store_true", help="run the pods of helm test, and end with their result"
    )
    return parser


def _text(name: str) -> str:
    return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")


class Place:
    """This machine in place of the cluster.

    Args:
        manifests: What would run there.
        directory: Takes mounted files.

    Attributes:
        programs: By role, in the order in which they start.
        ports: First port by role.

    Raises:
        ManifestError: If there is none of the Deployments, or more than one for a role.
    """

    def __init__(self, manifests: Manifests, directory: Path) -> None:
        self._directory = directory
        self._services = manifests.services()
        self.programs: dict[str, Program] = {}
        for role in ROLES:
            found = [each for each in manifests.deployments() if each.name.endswith(f"-{role}")]
            if len(found) > 1:
                raise ManifestError(f"there are {len(found)} Deployments of the role {role}")
            if found:
                self.programs[role] = found[0]
        if not self.programs:
            raise ManifestError(f"there is no Deployment whose name ends with {', '.join(ROLES)}")
        self.ports = {role: _free_ports(ROLES[role]) for role in self.programs}
        self._addresses = dict(self._local_addresses())

    def _local_addresses(self) -> Iterator[tuple[tuple[str, int], int]]:
        """Yield the local port for each Service and port of the roles."""
        roles = {program.name: role for role, program in self.programs.items()}
        for service, ports in self._services.items():
            for port, (deployment, container_port) in ports.items():
                role = roles.get(deployment)
                if role is not None:
                    first = int(self.programs[role].environment["DEMO_PORT"])
                    yield (service, port), self.ports[role] + container_port - first

    def environment(self, program: Program, role: str | None = None) -> dict[str, str]:
        """Return the environment of *program* as it is right here.

        Args:
            program: A role or a test.
            role: Its role, if it has one.
        """
        mounted = self._mount(program)
        environment = {
            name: self._moved(self.localised(value), mounted)
            for name, value in program.environment.items()
        }
        if role is not None:
            environment |= {"DEMO_HOST": "127.0.0.1", "DEMO_PORT": str(self.ports[role])}
        path = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
        return environment | {"PATH": os.pathsep.join(path)}

    def command(self, program: Program) -> list[str]:
        """Return the command of *program* as it is right here."""
        return [self.localised(word) for word in program.command]

    def localised(self, text: str) -> str:
        """Replace addresses of Services in *text* by those of the processes here.

        Raises:
            ManifestError: If a Service has no such port.
        """
        for service in self._services:
            # With a port, or as the host of a URL; a bare name may be anything.
            pattern = (
                rf"(?P<scheme>https?://)?(?<![\w.-]){re.escape(service)}"
                r"(?:\.[a-z0-9-]+(?:\.svc(?:\.cluster\.local)?)?)?(?::(?P<port>\d+))?(?![\w.-])"
            )
            text = re.sub(pattern, functools.partial(self._address, service), text)
        return text

    def _address(self, service: str, match: re.Match[str]) -> str:
        scheme, port = match["scheme"] or "", match["port"]
        if not port:
            if not scheme:
                return match[0]
            port = "443" if scheme == "https://" else "80"
        local = self._addresses.get((service, int(port)))
        if local is None:
            raise ManifestError(f"the Service {service} leads to no process here at port {port}")
        return f"{scheme}localhost:{local}"

    def _mount(self, program: Program) -> dict[str, str]:
        """Write the files of *program*; return the place of each mount point."""
        root = self._directory / program.name
        for path, content in program.files.items():
            place = root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch(mode=0o600)
            place.write_bytes(content)
        for path in program.directories:
            (root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        points = {str(Path(path).parent) for path in program.files} | set(program.directories)
        return {point: str(root / point.lstrip("/")) for point in points}

    @staticmethod
    def _moved(value: str, mounted: Mapping[str, str]) -> str:
        for point, place in mounted.items():
            if value == point or value.startswith(f"{point}/"):
                return place + value.removeprefix(point)
        return value


class Processes(dict[str, subprocess.Popen[bytes]]):
    """What runs, by name; no signal leaves one behind, whenever it comes.

    Args:
        signals: Listening.
    """

    def __init__(self, signals: Signals) -> None:
        super().__init__()
        self._signals = signals

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start *command* with exactly *environment*.

        Raises:
            KeyboardInterrupt: If a signal came meanwhile.
        """
        with self._signals.held():
            self[name] = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                # A Ctrl-C in the terminal is for this program, which then ends them in order.
                start_new_session=True,
            )
        if self._signals.number is not None:
            raise KeyboardInterrupt

    def end(self) -> None:
        """End the last one first: whoever sends is gone before those who could lose a request."""
        with self._signals.held():
            for process in reversed(self.values()):
                self._end(process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.terminate()
        give_up = time.monotonic() + _END_SECONDS
        while process.poll() is None:
            if self._signals.again or time.monotonic() > give_up:
                process.kill()
            time.sleep(_LOOK_SECONDS)


@contextlib.contextmanager
def _running(place: Place, signals: Signals) -> Iterator[Processes]:
    """Start the roles one after the other, each when the one before is ready; end them all."""
    processes = Processes(signals)
    try:
        for role, program in place.programs.items():
            processes.start(role, place.command(program), place.environment(program, role))
            url = f"http://localhost:{place.ports[role]}"
            _wait_until_ready(role, processes[role], url)
            print(f"{role} is ready: {url}/metrics", flush=True)
        yield processes
    finally:
        processes.end()


def _wait_until_ready(role: str, process: subprocess.Popen[bytes], url: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    give_up = time.monotonic() + _READY_SECONDS
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise ManifestError(f"{role} ended with {process.returncode}")
        with contextlib.suppress(OSError), opener.open(f"{url}/readyz", timeout=2):
            return
        time.sleep(_LOOK_SECONDS)
    raise ManifestError(f"{role} was not ready within {_READY_SECONDS:.0f} seconds")


def _test(place: Place, tests: Sequence[Program], processes: Processes) -> int:
    """Run each of *tests*; return 0 if there are any and all pass."""
    failed = not tests
    for test in tests:
        name = f"test {test.name}"
        processes.start(name, place.command(test), place.environment(test))
        code: int | None = None
        try:
            code = processes[name].wait(_TEST_SECONDS)
        except subprocess.TimeoutExpired:
            processes[name].kill()
        print(f"{test.name}: {'passed' if code == 0 else 'FAILED'}", flush=True)
        failed = failed or code != 0
    if not tests:
        print("there is no pod for helm test among the manifests", file=sys.stderr)
    return int(failed)


def _watch(processes: Mapping[str, subprocess.Popen[bytes]]) -> int:
    """Return 1 when one of *processes* ends by itself."""
    print("Ctrl-C ends them all", flush=True)
    while True:
        for role, process in processes.items():
            if process.poll() is not None:
                print(f"{role} ended with {process.returncode}", file=sys.stderr)
                return 1
        time.sleep(_LOOK_SECONDS)


def _free_ports(count: int) -> int:
    """Return the first of *count* ports in a row that nobody listens on."""
    while True:
        with contextlib.ExitStack() as stack:
            first = _bind(stack, 0)
            try:
                for offset in range(1, count):
                    _bind(stack, first + offset)
            except (OSError, OverflowError):
                continue
            return first


def _bind(stack: contextlib.ExitStack, port: int) -> int:
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", port))
    bound: int = listener.getsockname()[1]
    return bound


if __name__ == "__main__":
    sys.exit(main())
