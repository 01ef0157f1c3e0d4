import threading

from tessera.models.progress import watching


def test_what_is_measured_is_reported_until_the_work_ends() -> None:
    reported: list[int] = []
    enough = threading.Event()

    def report(done: int) -> None:
        reported.append(done)
        if len(reported) == 2:
            enough.set()

    with watching(lambda: len(reported), report):
        assert enough.wait(60)
    n_reported = len(reported)
    assert reported == list(range(n_reported))
    assert "progress" not in {thread.name for thread in threading.enumerate()}
