"""cohaul_ray on a real Ray: two nodes on this machine, and the built programs. `./dev accept` runs it.

    cluster_test.py BIN    where cohaul, cohaul-worker and cohaul-server are
"""

import json
import os
import pathlib
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import ray
from ray.cluster_utils import Cluster

BIN = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "build/release/bin").resolve()
HERE = pathlib.Path(__file__).resolve().parent
JOB = """[model]
name = "softmax"
[data]
name = "fashion-mnist"
[train]
batch = 120
slices = 6
steps = 60
log_every = 20
[job]
threads = 1
"""


def processes(variable):
    """Returns (pid, command line) of the processes whose environment has a variable."""
    found = []
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"\0{variable}\0" in "\0" + (place / "environ").read_text(errors="replace"):
                found.append((int(place.name), line))
        except OSError:
            continue  # it has ended
    return found


def parent_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def eventually(condition, limit_s=60):
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(0.05)
    return condition()


class OnTwoNodes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.mark = f"COHAUL_RAY_TEST={secrets.token_hex(8)}"
        os.environ.update([cls.mark.split("=")])  # Ray's processes have it, and all that they start
        cls.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        cls.cluster.add_node(num_cpus=2)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.shutdown()

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="cohaul-ray-")))
        self.job = self.folder / "job.toml"
        self.job.write_text(JOB)
        self.record = self.folder / "record"
        self.started = []

    def tearDown(self):
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()
            process.stderr.close()

    def start(self, *arguments, workers=2, **variables):
        command = [sys.executable, "-m", "cohaul_ray", self.job, "--workers", workers, "--cohaul", BIN / "cohaul", "--address", self.cluster.address]
        process = subprocess.Popen(
            [str(word) for word in [*command, "--record", self.record, *arguments]],
            cwd=HERE,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self, process, limit_s=120):
        """Waits for the end, checks that nothing of the job is left, and returns (exit code, stderr)."""
        _, err = process.communicate(timeout=limit_s)
        self.assertTrue(eventually(lambda: not self.of_the_job(), 5), self.of_the_job())
        return process.returncode, err

    def of_the_job(self, kind="cohaul"):
        return [pid for pid, line in processes(self.mark) if line.startswith(str(BIN / kind))]

    def workers(self):
        return self.of_the_job("cohaul-worker")

    def records(self, kind):
        lines = [json.loads(line) for line in self.record.read_text().splitlines()]
        return [line for line in lines if line["record"] == kind]

    def start_long(self, *arguments, until="step", **more):
        """Starts a run without end, and returns when it is training."""
        process = self.start("--set", "train.steps=10000000", *arguments, **more)
        self.assertTrue(eventually(lambda: self.record.exists() and f'"record":"{until}"' in self.record.read_text()), process.poll())
        return process

    def hash_here(self, *arguments):
        record = self.folder / "record_here"
        subprocess.run([BIN / "cohaul", "train", self.job, "--workers", "2", "--quiet", "--record", record, *arguments], check=True, capture_output=True)
        return json.loads(record.read_text().splitlines()[-1])["parameters_sha256"]

    def test_two_workers_on_two_nodes(self):
        exit_code, err = self.end(self.start("--cpus-per-worker", "2"))  # all that a node has
        self.assertEqual(exit_code, 0, err)
        self.assertEqual(self.records("result")[0]["parameters_sha256"], self.hash_here("--set", "job.threads=2"))
        self.assertEqual(len([line for line in self.records("process") if line["role"] == "worker"]), 2)

    def test_servers(self):
        exit_code, err = self.end(self.start("--servers", "2", "--set", "strategy.name=parameter_server"))
        self.assertEqual(exit_code, 0, err)
        here = self.hash_here("--set", "strategy.name=parameter_server", "--set", "strategy.servers=2")
        self.assertEqual(self.records("result")[0]["parameters_sha256"], here)
        self.assertEqual(len([line for line in self.records("process") if line["role"] == "server"]), 2)

    def test_one_worker(self):
        exit_code, err = self.end(self.start("--set", "job.workers=2", workers=1))
        self.assertEqual(exit_code, 0, err)
        self.assertEqual(self.records("result")[0]["parameters_sha256"], self.hash_here())

    def test_a_users_mistake_is_not_restarted(self):
        exit_code, err = self.end(self.start("--set", "train.btach=3", "--set", f"train.checkpoint={self.folder}/c", "--restarts", "3"))
        self.assertEqual(exit_code, 2, err)
        self.assertIn("--set train.btach=3: unknown key", err.splitlines()[-1])
        self.assertIn("ended with exit code 2", err.splitlines()[-1])
        self.assertNotIn("restart", err)
        self.assertEqual(self.records("error")[0]["exit"], 2)

    def test_a_program_that_is_not_there(self):
        exit_code, err = self.end(self.start("--cohaul", "/no/such/cohaul"))
        self.assertEqual(exit_code, 2, err)
        self.assertIn("there is no program /no/such/cohaul on node ", err)

    def test_a_killed_worker_is_named(self):
        process = self.start_long()
        victim = next(pid for pid in self.workers() if "\0RANK=1\0" in pathlib.Path(f"/proc/{pid}/environ").read_text())
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        exit_code, err = self.end(process)
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual(exit_code, 3, err)
        self.assertIn("worker 1 on node ", err.splitlines()[-1])
        self.assertIn("was killed by SIGKILL", err.splitlines()[-1])

    def test_a_killed_actor_ends_its_process(self):
        """A single worker without messages does not notice the loss by itself."""
        for workers in (1, 2):
            process = self.start_long("--quiet", "--set", "train.log_every=10000000", until="process", workers=workers)
            actor_of = {pid: parent_of(pid) for pid in self.of_the_job()}
            os.kill(next(parent for parent in actor_of.values() if parent not in actor_of), signal.SIGKILL)
            exit_code, err = self.end(process)
            self.assertEqual(exit_code, 3, err)
            self.assertIn("is lost, with its Ray actor or node", err)
            self.record.unlink()

    def test_a_killed_driver_ends_all(self):
        """Processes without messages do not notice the loss by themselves."""
        for workers in (1, 2):
            process = self.start_long("--quiet", "--set", "train.log_every=10000000", until="process", workers=workers)
            self.assertTrue(eventually(lambda: len(self.of_the_job()) >= workers))
            process.kill()
            process.wait()
            self.assertTrue(eventually(lambda: not self.of_the_job(), 20), self.of_the_job())
            self.record.unlink()

    def test_a_restart_goes_on_from_the_newest_checkpoint(self):
        checkpoints = ["--set", f"train.checkpoint={self.folder}/c", "--set", "train.checkpoint_every=20"]
        process = self.start("--restarts", "1", *checkpoints, "--set", "train.steps=4000")
        self.assertTrue(eventually(lambda: list(self.folder.glob("c/*/manifest*"))), process.poll())
        os.kill(self.workers()[1], signal.SIGKILL)
        exit_code, err = self.end(process)
        self.assertEqual(exit_code, 0, err)
        self.assertIn("restart 1 of 1", err)
        self.assertEqual(self.records("restart")[0]["try"], 1)
        self.assertEqual(len(self.records("resumed")), 1)
        self.assertEqual(self.records("result")[0]["parameters_sha256"], self.hash_here("--set", "train.steps=4000"))

    def test_ctrl_c_ends_all_within_five_seconds(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.start_long()
            began = time.monotonic()
            process.send_signal(number)
            exit_code, err = self.end(process)
            self.assertLess(time.monotonic() - began, 5)
            self.assertEqual(exit_code, 128 + number, err)
            self.record.unlink()

    def test_ctrl_c_writes_a_checkpoint(self):
        process = self.start_long("--set", f"train.checkpoint={self.folder}/c")
        process.send_signal(signal.SIGINT)
        exit_code, err = self.end(process)
        self.assertEqual(exit_code, 130, err)
        self.assertEqual(len(self.records("checkpoint")), 1)

    def test_ctrl_c_while_it_waits_for_the_cluster(self):
        process = self.start(workers=100)
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        exit_code, err = self.end(process)
        self.assertEqual(exit_code, 130, err)

    def test_a_lost_node(self):
        node = self.cluster.add_node(num_cpus=2)
        process = self.start_long("--cpus-per-worker", "2", workers=3)
        self.cluster.remove_node(node, allow_graceful=False)
        exit_code, err = self.end(process)
        self.assertEqual(exit_code, 3, err)
        self.assertIn("is lost, with its Ray actor or node", err)

    def test_the_secret_is_on_no_command_line(self):
        secret = "s" * 40
        process = self.start_long(COHAUL_SECRET=secret)
        has_it = [line for _, line in processes(self.mark) if secret in line]
        environments = [pid for pid in self.workers() if secret in pathlib.Path(f"/proc/{pid}/environ").read_text()]
        process.send_signal(signal.SIGINT)
        self.end(process)
        self.assertEqual(has_it, [])
        self.assertEqual(len(environments), 2)

    def test_as_a_function(self):
        sys.path.insert(0, str(HERE))
        import cohaul_ray

        ray.init(address=self.cluster.address, log_to_driver=False)
        try:
            exit_code = cohaul_ray.train(self.job, workers=2, cohaul=str(BIN / "cohaul"), record=str(self.record), quiet=True)
        finally:
            ray.shutdown()
        self.assertEqual(exit_code, 0)
        self.assertEqual(len(self.records("result")), 1)


if __name__ == "__main__":
    unittest.main()
