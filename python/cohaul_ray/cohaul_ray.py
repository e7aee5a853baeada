"""Runs a training job of Cohaul on a Ray cluster: a Ray actor for each worker and server, which runs `cohaul train` on its node.

    python -m cohaul_ray jobs/mlp.toml --workers 4

    import cohaul_ray
    exit_code = cohaul_ray.train("jobs/mlp.toml", workers=4)

The command line, and what the exit codes mean, is Cohaul's (README). Every node has the job file, the data and `cohaul` at the same path. Ray and Python run
beside the training, not in it.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import json
import os
import queue
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib

DONE, FAILED, MISTAKE, LOST = 0, 1, 2, 3  # exit codes

POLL_S = 0.5  # how long an actor waits for news of its process before it answers
SECRET_LEAST = 32  # characters; Cohaul refuses fewer
ALL_END_S = 4.0  # how long the others may take to end by themselves after the first has failed
KILLED_S = 2.0  # how long a process may take to end after SIGKILL; then its node does not answer
GRACE_S = 25.0  # job.stop_grace_s
STOPPED = {128 + signal.SIGINT, 128 + signal.SIGTERM}


class Mistake(Exception):
    """A mistake of the user, reported as one line."""


# ---- options and the job file; this needs no Ray


@dataclasses.dataclass
class Options:
    job: str  # the job file
    workers: int
    servers: int | None = None  # None: as the job says
    sets: tuple[str, ...] = ()  # "KEY=VALUE"
    cpus_per_worker: int | None = None  # None: 1 for Ray, and Cohaul's own choice of threads
    restarts: int | None = None  # None: as the job says
    cohaul: str = "cohaul"  # the command, on every node
    program: str | None = None  # a worker of the user's own, on every node
    record: str | None = None  # a file here, or "-"
    quiet: bool = False


@dataclasses.dataclass
class Plan:
    """The plan of a run, which follows from the options and the job file."""

    command: list[str]  # of every task, first try
    workers: int
    servers: int
    restarts: int
    has_checkpoints: bool
    stop_grace_s: float

    @property
    def tasks(self):
        return self.workers + self.servers

    def name(self, task):
        """Returns the name of a task's process in the job; the last tasks are the servers."""
        return f"worker {task}" if task < self.workers else f"server {task - self.workers}"


def settings_of(job, sets):
    """Returns the job's keys as {"section.name": value}; none if the file is not TOML, which `cohaul train` reports."""
    try:
        with open(job, "rb") as file:
            tables = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        tables = {}
    out = {f"{section}.{name}": value for section, table in tables.items() if isinstance(table, dict) for name, value in table.items()}
    out.update(pair.split("=", 1) for pair in sets if "=" in pair)
    return out


def number_in(settings, key, otherwise, kind=int):
    """Returns the key's number, or the default if the value is no such number, which `cohaul train` reports."""
    try:
        return kind(settings.get(key, otherwise))
    except (TypeError, ValueError):
        return otherwise


def plan_of(options):
    """Returns the plan. Raises Mistake."""
    for option, value, least in (
        ("--workers", options.workers, 1),
        ("--servers", options.servers, 0),
        ("--cpus-per-worker", options.cpus_per_worker, 1),
        ("--restarts", options.restarts, 0),
    ):
        if value is not None and value < least:
            raise Mistake(f"{option} {value}: must be at least {least}")
    job = os.path.abspath(options.job)
    if not os.path.isfile(job):
        raise Mistake(f"no job file {job}: give the path of a TOML file, which every node has")
    settings = settings_of(job, options.sets)
    has_servers = settings.get("strategy.name") == "parameter_server"
    servers = options.servers
    if servers is None:
        servers = number_in(settings, "strategy.servers", 1) if has_servers else 0
    restarts = options.restarts if options.restarts is not None else number_in(settings, "job.restarts", 0)
    has_checkpoints = "train.checkpoint" in settings
    if restarts > 0 and not has_checkpoints:
        raise Mistake(f"--restarts {restarts}: the job would begin anew each time, since train.checkpoint is not set: set it to a folder that all nodes see")

    command = [options.cohaul, "train", job, "--workers", str(options.workers)]
    if options.cpus_per_worker is not None:
        command += ["--set", f"job.threads={options.cpus_per_worker}"]
    for pair in options.sets:
        command += ["--set", pair]
    if options.servers:
        command += ["--set", f"strategy.servers={servers}"]
    command += ["--set", "job.restarts=0"]  # restarts are done by this module
    if options.program:
        command += ["--program", options.program]
    if options.quiet:
        command += ["--quiet"]
    return Plan(command, options.workers, servers, restarts, has_checkpoints, number_in(settings, "job.stop_grace_s", GRACE_S, float))


def secret_of(environment):
    """Returns the secret that the processes of one run share: the user's COHAUL_SECRET, or a new one for this run."""
    own = environment.get("COHAUL_SECRET", "")
    if own and len(own) < SECRET_LEAST:
        raise Mistake(f"COHAUL_SECRET has {len(own)} characters, and needs {SECRET_LEAST}: `cohaul secret` makes one, and without any a new one is drawn")
    return own or secrets.token_hex(32)


def environment_of(task, plan, address, port, run, secret):
    """Returns the variables that tell a task its place in the job (docs/engines.md). A single task needs none."""
    if plan.tasks == 1:
        return {"COHAUL_ENGINE": "none"}
    return {
        "RANK": str(task),
        "WORLD_SIZE": str(plan.tasks),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "COHAUL_JOB": run,
        "COHAUL_SECRET": secret,
    }


@dataclasses.dataclass
class End:
    """How a task has ended."""

    task: int
    exit: int | None  # as subprocess says it: < 0: by a signal; None: its actor or node is gone
    where: str = ""  # the node
    last_line: str = ""

    def in_words(self, plan):
        if self.exit is None:
            how = "is lost, with its Ray actor or node"
        elif self.exit < 0:
            how = f"was killed by {signal.Signals(-self.exit).name}"
        else:
            how = f"ended with exit code {self.exit}"
        return f"{plan.name(self.task)} on node {self.where} {how}" + (f"; its last line: {self.last_line}" if self.last_line else "")

    @property
    def exit_code(self):
        """Returns the run's exit code if this end explains its failure."""
        if self.exit is None or self.exit < 0 or self.exit == LOST:
            return LOST
        return self.exit if self.exit in STOPPED | {DONE, MISTAKE} else FAILED


def first_failure(ends):
    """Returns the end that explains the others, of tasks in the order in which they ended; None: there was no failure. A task that lost another (exit code 3)
    explains nothing if that other one is there too. If worker 0 has a result, failures after it do not count."""
    if any(end.task == 0 and end.exit == DONE for end in ends):
        return None
    failed = [end for end in ends if end.exit != DONE]
    explains = [end for end in failed if end.exit != LOST]
    return (explains or failed or [None])[0]


# ---- a task: it runs in a Ray actor, on its node


class Task:
    """A process of the job. It ends when its actor ends, in whatever way."""

    def __init__(self):
        self.lines = queue.Queue()
        self.process = None
        self.readers = []

    def meeting(self):
        """Returns this node's address and a free port, where the other tasks meet task 0."""
        import ray

        address = ray.util.get_node_ip_address()
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as free:
            free.bind((address, 0))
            return address, free.getsockname()[1]

    def start(self, command, environment):
        """Starts the process. Returns the node, and what is wrong there, if anything is."""
        import ray

        where = f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"
        if shutil.which(command[0]) is None:
            return where, f"there is no program {command[0]} on node {where}: give --cohaul PATH, which every node has"
        libc = ctypes.CDLL(None)

        def become_child():
            libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: when the actor ends
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)

        self.process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=become_child,
        )
        for stream in ("stdout", "stderr"):
            reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
            reader.start()
            self.readers.append(reader)
        return where, None

    def _read(self, stream):
        with getattr(self.process, stream) as pipe:
            for line in pipe:
                self.lines.put((stream, line.decode(errors="replace").rstrip("\n")))

    def poll(self):
        """Returns its output since the last call, and its exit code once it has ended. Waits a little for either."""
        said = []
        until = time.monotonic() + POLL_S
        while not said and self.process.poll() is None and time.monotonic() < until:
            try:
                said.append(self.lines.get(timeout=0.05))
            except queue.Empty:
                pass
        exit_code = self.process.poll()
        if exit_code is not None:
            for reader in self.readers:
                reader.join(timeout=1)  # a child of the process may hold the pipe open
        while not self.lines.empty():
            said.append(self.lines.get())
        return said, exit_code

    def send(self, number):
        """Sends a signal to the process."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


# ---- the driver


class Signals:
    """Receives SIGINT and SIGTERM while it exists, if this is the main thread. count: how many came; last: the last one."""

    def __init__(self):
        self.count, self.last, self.before = 0, 0, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _take(self, number, frame):
        self.count, self.last = self.count + 1, number

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)


class Output:
    """Passes the processes' output on to the user: worker 0's as it is, the others' with their names. With a record, worker 0's stdout is the record."""

    def __init__(self, plan, record):
        self.plan, self.last_kind = plan, None
        self.to_stdout = record == "-"
        self.file = None
        if record and not self.to_stdout:
            try:
                self.file = open(record, "w")
            except OSError as error:
                raise Mistake(f"--record {record}: cannot be written: {error.strerror}") from error
        self.is_record = record is not None

    def say(self, line):
        print(f"cohaul: {line}", file=sys.stderr, flush=True)

    def take(self, task, stream, line):
        if task == 0 and stream == "stdout" and self.is_record:
            self._record_line(line)
        else:
            print(line if task == 0 else f"[{self.plan.name(task)}] {line}", file=sys.stdout if stream == "stdout" else sys.stderr, flush=True)

    def record(self, kind, **values):
        if self.is_record:
            self._record_line(json.dumps({"record": kind, **values}))

    def _record_line(self, line):
        print(line, file=self.file or sys.stdout, flush=True)
        if line.startswith('{"record":'):
            self.last_kind = line.split('"', 4)[3]

    def close(self):
        if self.file:
            self.file.close()


class Try:
    """One try: a start of all tasks."""

    def __init__(self, plan, output, signals, cpus):
        self.plan, self.output, self.signals, self.cpus = plan, output, signals, cpus
        self.group, self.actors, self.where, self.last_line = None, {}, {}, {}
        self.ends = []

    def run(self, command, run, secret):
        """Runs all tasks to their end. Returns the End that explains a failure; None: success. Afterwards no process is left."""
        try:
            if not self._place():
                return End(0, 128 + self.signals.last)
            self._start(command, run, secret)
            self._follow()
            return first_failure(self.ends)
        finally:
            self._remove()

    def _place(self):
        """Blocks until the cluster has room, and tells the user if that takes long. Returns False if a signal came first."""
        import ray
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        bundles = [{"CPU": self.cpus}] * self.plan.workers + [{"CPU": 1}] * self.plan.servers
        self.group = placement_group(bundles, strategy="PACK")
        began, told = time.monotonic(), False
        while not self.group.wait(POLL_S):
            if self.signals.count:
                return False
            if not told and time.monotonic() - began > 10:
                told = True
                total = ray.cluster_resources().get("CPU", 0)
                wanted = self.plan.workers * self.cpus + self.plan.servers
                self.output.say(f"waiting for {wanted} free CPUs of the Ray cluster, which has {total:g}: see `ray status`")
        for task, bundle in enumerate(bundles):
            place = PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=task)
            self.actors[task] = ray.remote(Task).options(num_cpus=bundle["CPU"], scheduling_strategy=place, max_restarts=0).remote()
        return True

    def _start(self, command, run, secret):
        import ray

        address, port = ray.get(self.actors[0].meeting.remote())
        starts = {
            task: actor.start.remote(command if task else self._of_worker_0(command), environment_of(task, self.plan, address, port, run, secret))
            for task, actor in self.actors.items()
        }
        for task, start in starts.items():
            try:
                self.where[task], mistake = ray.get(start)
            except ray.exceptions.RayActorError:
                self._ended(task, None)
                continue
            if mistake:
                raise Mistake(mistake)

    def _of_worker_0(self, command):
        return command + (["--record", "-"] if self.output.is_record else [])

    def _ended(self, task, exit_code):
        self.ends.append(End(task, exit_code, self.where.get(task, "?"), self.last_line.get(task, "")))

    def _follow(self):
        """Blocks until all tasks have ended. After the first failure, or a signal, it ends them."""
        import ray

        gone = {end.task for end in self.ends}
        polls = {actor.poll.remote(): task for task, actor in self.actors.items() if task not in gone}
        kill_at, killed_at, signals_seen = None, None, 0
        while polls:
            ready, _ = ray.wait(list(polls), num_returns=1, timeout=POLL_S)
            for reference in ready:
                task = polls.pop(reference)
                try:
                    said, exit_code = ray.get(reference)
                except ray.exceptions.RayActorError:
                    self._ended(task, None)
                    continue
                for stream, line in said:
                    self.output.take(task, stream, line)
                    if stream == "stderr" and line.strip():
                        self.last_line[task] = line
                if exit_code is None:
                    polls[self.actors[task].poll.remote()] = task
                else:  # a task that was killed from here explains nothing
                    self._ended(task, LOST if killed_at and exit_code < 0 else exit_code)
            now = time.monotonic()
            if signals_seen < self.signals.count:
                signals_seen = self.signals.count
                kill_at = now + self._pass_on(signals_seen)
            elif kill_at is None and first_failure(self.ends):
                kill_at = now + ALL_END_S
            if killed_at is None and kill_at is not None and now >= kill_at:
                killed_at = now
                self._send(polls.values(), signal.SIGKILL)
            elif killed_at is not None and now >= killed_at + KILLED_S:
                for task in polls.values():
                    self._ended(task, None)
                return

    def _pass_on(self, count):
        """Passes on the user's signal. With checkpoints worker 0 tells the others, and all write one and end; otherwise, and the second time, all end at once. Returns
        how long that may take."""
        if count > 1:
            return 0.0
        if self.plan.has_checkpoints:
            self._send([0], self.signals.last)
            return self.plan.stop_grace_s
        self._send(self.actors, self.signals.last)
        return ALL_END_S / 2

    def _send(self, tasks, number):
        for task in tasks:
            self.actors[task].send.remote(number)

    def _remove(self):
        import ray
        from ray.util.placement_group import remove_placement_group

        for actor in self.actors.values():
            ray.kill(actor)  # and the kernel kills its process
        if self.group is not None:
            remove_placement_group(self.group)


def connect(address):
    """Connects to the cluster. It first checks that one answers at host:port, because Ray itself would try for minutes."""
    import logging

    import ray

    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except OSError as error:
            raise Mistake(f"--address {address}: no Ray cluster answers there: {error.strerror or error}") from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise Mistake(f"--address {address}: {error}") from error


def run_tries(plan, options, output, signals):
    import ray

    secret = secret_of(os.environ)
    run = f"ray {ray.get_runtime_context().get_job_id()} {secrets.token_hex(8)}"
    command = plan.command
    for number in range(plan.restarts + 1):
        failure = Try(plan, output, signals, options.cpus_per_worker or 1).run(command, f"{run} try {number}", secret)
        if failure is None:
            return DONE
        if signals.count:
            output.say(f"interrupted by {signal.Signals(signals.last).name}")
            return 128 + signals.last
        message, code = failure.in_words(plan), failure.exit_code
        if code not in (FAILED, LOST) or number == plan.restarts:
            break
        output.say(message)
        output.say(f"restart {number + 1} of {plan.restarts}, from the newest checkpoint")
        output.record("restart", **{"try": number + 1, "message": message})
        command = plan.command + ["--set", "train.resume=auto"]
    output.say(message)
    if output.last_kind != "error":
        role, rank = plan.name(failure.task).split()
        output.record("error", exit=code, role=role, rank=int(rank), operation=None, message=message)
    return code


def train(job, *, workers, address=None, **more):
    """Trains, and returns the exit code; a failure is reported on stderr. more: the other fields of Options. address: of the Ray cluster, where this program
    has not connected to one; None: as ray.init() finds or starts one. Blocks until nothing of the job runs any more."""
    output = None
    try:
        try:
            import ray
        except ModuleNotFoundError:
            raise Mistake("Ray is not installed for this Python: pip install ray") from None
        options = Options(job=job, workers=workers, **more)
        plan = plan_of(options)
        secret_of(os.environ)
        output = Output(plan, options.record)
        if not ray.is_initialized():
            connect(address)
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # so that nodes need only Ray
        with Signals() as signals:
            return run_tries(plan, options, output, signals)
    except Mistake as error:
        print(f"cohaul: {error}", file=sys.stderr, flush=True)
        return MISTAKE
    finally:
        if output is not None:
            output.close()


def arguments(words):
    parser = argparse.ArgumentParser(prog="cohaul_ray", description="Runs a training job of Cohaul on a Ray cluster.")
    parser.add_argument("job", metavar="JOB.toml", help="the job, at the same path on every node")
    parser.add_argument("--workers", type=int, required=True, help="worker processes")
    parser.add_argument("--servers", type=int, help="server processes (strategy.servers)")
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="KEY=VALUE", help="sets a key over the job file; may be repeated")
    parser.add_argument("--cpus-per-worker", type=int, metavar="N", help="CPUs that each worker asks Ray for (1), and its threads (job.threads)")
    parser.add_argument("--restarts", type=int, metavar="N", help="how often the job is started again after a failure (job.restarts)")
    parser.add_argument("--address", help="of the Ray cluster (as ray.init() finds it)")
    parser.add_argument("--cohaul", default="cohaul", metavar="PATH", help="the command, on every node")
    parser.add_argument("--program", metavar="PATH", help="your own worker, built with worker_main, on every node")
    parser.add_argument("--record", metavar="FILE", help="where the record goes: JSON lines to a file here, or - for stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    given = vars(parser.parse_args(words))
    given["sets"] = tuple(given["sets"])
    return given


if __name__ == "__main__":
    sys.exit(train(**arguments(sys.argv[1:])))
