import deadly

from stages.data.isolation import isolated


def test_a_job_that_kills_its_process_costs_itself_only():
    found = {}
    for jobs, results in isolated(deadly.double, (7, 31), list(range(40)), 2, lambda job: -job, chunk=4, few=0):
        found.update(zip(jobs, results, strict=True))
    assert found == {n: -n if n in (7, 31) else 2 * n for n in range(40)}


def test_few_jobs_need_no_processes():
    assert list(isolated(deadly.double, (), [1, 2, 3], 2, lambda job: -job, chunk=2)) == [([1, 2], [2, 4]), ([3], [6])]
