import unittest

import programs_report


def report(programs, both, features=("linear", "frozen")):
    return {
        "programs": programs, "float64": 1, "runs": 10, "steps": 100, "seconds": 2.5, "refused": 0, "failed": 1, "idle": 3,
        "largest_error": 1e-12 * programs, "features": list(features), "pairs": [[programs, both], [both, both]],
    }  # fmt: skip


class ProgramsReport(unittest.TestCase):
    def test_reports_add_up(self):
        out = programs_report.added(programs_report.added({}, report(10, 4)), report(30, 6))
        self.assertEqual((out["programs"], out["failed"], out["idle"], out["seconds"]), (40, 2, 6, 5.0))
        self.assertEqual(out["pairs"], [[40, 10], [10, 10]])
        self.assertEqual(out["largest_error"], 3e-11)

    def test_other_features_do_not_add_up(self):
        with self.assertRaises(ValueError):
            programs_report.added(report(1, 1), report(1, 1, ("linear", "tied")))

    def test_the_table_counts_features_and_their_rarest_company(self):
        lines = programs_report.table(report(40, 10)).split("\n")
        self.assertIn("| linear | 40 | 100.0 | frozen | 25.0 |", lines)
        self.assertIn("| frozen | 10 | 25.0 | linear | 25.0 |", lines)
        self.assertTrue(lines[-1].startswith("40 programs (1 in float64), 10 runs, 100 steps; 0 refused, 1 failed; 3 drawn"))


if __name__ == "__main__":
    unittest.main()
