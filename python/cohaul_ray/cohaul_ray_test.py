"""Tests what cohaul_ray does without Ray: options, the job file, the environment of each task, and which failure explains the others."""

import contextlib
import io
import json
import pathlib
import signal
import tempfile
import unittest

import cohaul_ray
from cohaul_ray import LOST, End, Mistake, Options, Output, environment_of, first_failure, plan_of


class WithAJob(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.job = self.folder / "job.toml"
        self.job.write_text("[strategy]\nname = 'all_reduce'\n")

    def plan(self, *sets, workers=2, **more):
        return plan_of(Options(str(self.job), workers, sets=sets, **more))

    def refused(self, message, *sets, **more):
        with self.assertRaisesRegex(Mistake, message):
            self.plan(*sets, **more)


class Plans(WithAJob):
    def test_a_command_for_every_task(self):
        plan = self.plan("train.steps=3", cpus_per_worker=4, program="/own", quiet=True, cohaul="/bin/cohaul")
        self.assertEqual(
            plan.command,
            ["/bin/cohaul", "train", str(self.job), "--workers", "2", "--set", "job.threads=4", "--set", "train.steps=3"]
            + ["--set", "job.restarts=0", "--program", "/own", "--quiet"],
        )
        self.assertEqual((plan.tasks, plan.restarts, plan.has_checkpoints), (2, 0, False))

    def test_servers_are_those_of_the_job(self):
        self.assertEqual(self.plan("strategy.name=parameter_server").servers, 1)  # strategy.servers' default
        self.assertEqual(self.plan("strategy.name=parameter_server", "strategy.servers=3").servers, 3)
        self.assertEqual(self.plan("strategy.name=parameter_server", "strategy.servers=many").servers, 1)  # which is refused later
        self.job.write_text("[strategy]\nname = 'parameter_server'\nservers = 2\n")
        self.assertEqual(self.plan().servers, 2)
        self.assertEqual(self.plan("strategy.name=all_reduce").servers, 0)
        plan = self.plan(servers=4)
        self.assertEqual([plan.name(task) for task in (0, 1, 2, 5)], ["worker 0", "worker 1", "server 0", "server 3"])
        self.assertIn("strategy.servers=4", plan.command)

    def test_restarts_need_checkpoints(self):
        self.refused("train.checkpoint is not set", restarts=1)
        self.assertEqual(self.plan("train.checkpoint=/c", restarts=1).restarts, 1)
        self.job.write_text("[train]\ncheckpoint = 'c'\n[job]\nrestarts = 2\nstop_grace_s = 3.5\n")
        self.assertEqual((self.plan().restarts, self.plan().stop_grace_s), (2, 3.5))
        self.assertEqual(self.plan(restarts=0).restarts, 0)

    def test_mistakes(self):
        self.refused("--workers 0: must be at least 1", workers=0)
        self.refused("--servers -1", servers=-1)
        self.refused("--cpus-per-worker 0", cpus_per_worker=0)
        self.refused("--restarts -1", restarts=-1)
        self.job.write_text("no TOML")
        self.assertEqual(self.plan().servers, 0)  # `cohaul train` says where it is wrong
        self.job.unlink()
        self.refused("no job file")

    def test_arguments(self):
        given = cohaul_ray.arguments(["a.toml", "--workers", "4", "--set", "a.b=1", "--set", "c.d=2", "--address", "node:1"])
        self.assertEqual((given["job"], given["workers"], given["sets"], given["address"]), ("a.toml", 4, ("a.b=1", "c.d=2"), "node:1"))
        for wrong in (["a.toml"], ["--workers", "4"], ["a.toml", "--workers", "many"], ["a.toml", "--workers", "4", "--wrokers", "5"]):
            with self.assertRaises(SystemExit) as ended, contextlib.redirect_stderr(io.StringIO()):
                cohaul_ray.arguments(wrong)
            self.assertEqual(ended.exception.code, 2)


class Environments(WithAJob):
    def test_each_task_knows_its_place(self):
        plan = self.plan(servers=1)
        self.assertEqual(
            environment_of(2, plan, "10.0.0.1", 4000, "ray 7 try 0", "s" * 64),
            {"RANK": "2", "WORLD_SIZE": "3", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4000", "COHAUL_JOB": "ray 7 try 0", "COHAUL_SECRET": "s" * 64},
        )
        self.assertEqual(environment_of(0, self.plan(workers=1), "", 0, "", ""), {"COHAUL_ENGINE": "none"})

    def test_secrets(self):
        self.assertEqual(cohaul_ray.secret_of({"COHAUL_SECRET": "s" * 32}), "s" * 32)
        self.assertNotEqual(cohaul_ray.secret_of({}), cohaul_ray.secret_of({}))
        self.assertEqual(len(cohaul_ray.secret_of({"COHAUL_SECRET": ""})), 64)
        with self.assertRaisesRegex(Mistake, "has 31 characters"):
            cohaul_ray.secret_of({"COHAUL_SECRET": "s" * 31})


class Failures(WithAJob):
    def test_the_first_that_explains_the_others(self):
        plan = self.plan(workers=3, servers=1)
        lost, killed, mistake = End(0, LOST, "a"), End(1, -signal.SIGKILL, "b", "step 3"), End(3, 2, "c")
        self.assertIsNone(first_failure([]))
        self.assertIsNone(first_failure([End(1, 0), End(0, 0)]))
        self.assertIsNone(first_failure([End(0, 0), killed]))  # the results are there
        self.assertEqual(first_failure([lost, End(2, 0), killed]), killed)
        self.assertEqual(first_failure([lost, End(2, LOST)]), lost)
        self.assertEqual(first_failure([mistake, killed]), mistake)
        self.assertEqual(killed.in_words(plan), "worker 1 on node b was killed by SIGKILL; its last line: step 3")
        self.assertEqual(mistake.in_words(plan), "server 0 on node c ended with exit code 2")
        self.assertEqual(End(2, None, "d").in_words(plan), "worker 2 on node d is lost, with its Ray actor or node")

    def test_exit_codes(self):
        codes = {0: 0, 1: 1, 2: 2, 3: 3, 7: 1, 127: 1, 130: 130, 143: 143, -9: 3, -11: 3, None: 3}
        self.assertEqual({exit_code: End(0, exit_code).exit_code for exit_code in codes}, codes)


class Outputs(WithAJob):
    def test_worker_0_as_it_is_and_others_with_their_names(self):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            output = Output(self.plan(servers=1), None)
            output.take(0, "stdout", "result")
            output.take(0, "stderr", "step 1")
            output.take(1, "stderr", "hello")
            output.take(2, "stdout", "served")
            output.record("error", exit=2)
        self.assertEqual(out.getvalue(), "result\n[server 0] served\n")
        self.assertEqual(err.getvalue(), "step 1\n[worker 1] hello\n")

    def test_the_record_is_worker_0s_stdout(self):
        output = Output(self.plan(), str(self.folder / "record"))
        output.take(0, "stdout", '{"record":"step","step":1}')
        self.assertEqual(output.last_kind, "step")
        output.record("restart", **{"try": 1})
        self.assertEqual(output.last_kind, "restart")
        output.close()
        lines = [json.loads(line) for line in (self.folder / "record").read_text().splitlines()]
        self.assertEqual(lines, [{"record": "step", "step": 1}, {"record": "restart", "try": 1}])
        with self.assertRaisesRegex(Mistake, "--record /no/such/x: cannot be written"):
            Output(self.plan(), "/no/such/x")


if __name__ == "__main__":
    unittest.main()
